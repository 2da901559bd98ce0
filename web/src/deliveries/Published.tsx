/** What the FHIR server that is published to does not have yet, and why. */
import { Button } from '@mantine/core'
import { IconRotate } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { api, queryClient } from '../api/client'
import type { FhirPublication, WaitingStudy } from '../api/types'
import { Failed } from '../common/Failed'
import { count, plural } from '../common/format'
import { nextTry } from '../settings/fares'
import classes from '../settings/settings.module.css'
import { publishes } from './text'

/** A study that waits: for its own time, or for the server's. */
function Waiting({ study, away }: { study: WaitingStudy; away: boolean }) {
  return (
    <li className={classes.item} data-testid="unpublished">
      <div className={classes.about}>
        <Link to="/imaging/$studyId" params={{ studyId: study.study_instance_uid }} search={{}} className="mono">
          {study.study_instance_uid}
        </Link>
        <span className="dim">
          Source {study.source}, version {study.version}
          {study.attempts > 0 && ` · ${plural(study.attempts, 'attempt')}`}
        </span>
        {study.problem && !away && <span className={classes.failed}>{study.problem}</span>}
      </div>
      <span>Waiting</span>
      <div className={classes.acts}>
        {!away && <span className="dim">{nextTry(study.next_at)}</span>}
      </div>
    </li>
  )
}

export function Published({ publication }: { publication: FhirPublication }) {
  const retry = api.useMutation('post', '/api/v1/imaging/fhir/publication/retry')
  const { mood, sentence: state } = publishes(publication)
  const { items, total } = publication
  return (
    <section aria-labelledby="published" className={classes.section}>
      <header>
        <h2 id="published">Publication by FHIR</h2>
        {total > 0 && (
          <Button
            size="compact-sm"
            variant="default"
            leftSection={<IconRotate size={14} />}
            loading={retry.isPending}
            onClick={() => retry.mutate({}, { onSuccess: () => void queryClient.invalidateQueries() })}
          >
            Send now
          </Button>
        )}
      </header>
      <ul className={classes.list}>
        <li className={classes.row} data-testid="publication">
          <div className={classes.about}>
            <strong>{publication.server}</strong>
            <span className={classes.mood} data-mood={mood}>
              {state}
            </span>
            <span className="dim">
              {count(publication.published)} published, {count(total)} waiting
            </span>
            <Failed error={retry.error} />
          </div>
        </li>
      </ul>
      {items.length > 0 && (
        <div className={classes.queue}>
          <ul className={classes.list}>
            {items.map((one) => (
              <Waiting key={one.id} study={one} away={publication.failures > 0} />
            ))}
          </ul>
          {total > items.length && <p className={classes.none}>and {count(total - items.length)} more</p>}
        </div>
      )}
    </section>
  )
}
