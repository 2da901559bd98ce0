/** What a study is tied to in the CDM and how that was found, what can be changed about it, and what was decided so far. */
import { Button, Skeleton } from '@mantine/core'
import { useState } from 'react'
import { api } from '../api/client'
import type { Link, StudyDetail } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import { ago, moment } from '../common/format'
import { useDecide } from '../links/act'
import { Traits } from '../links/CandidateLine'
import { Choose } from '../links/Choose'
import { Changes } from '../links/History'
import classes from '../links/link.module.css'
import type { Kind } from '../links/search'
import { candidateFacts, doneText, KIND_NAMES, leave, methodName, reasonName, refuse } from '../links/text'
import study from './study.module.css'

function Target({ of, link }: { of: StudyDetail; link: Link }) {
  const target = link.target_id
  const { data } = api.useQuery(
    'get',
    '/api/v1/imaging/links/candidates',
    { params: { query: { study: of.id, kind: link.kind, q: String(target) } } },
    { enabled: target !== null },
  )
  const found = data?.find((one) => one.id === target)
  if (target === null)
    return (
      <div>
        <strong>{link.reason === 'unlinked' ? 'Must not be linked' : reasonName(link.reason)}</strong>
        <p className="dim">{link.text}</p>
      </div>
    )
  return (
    <div>
      <span className={classes.facts}>
        <strong>{target}</strong>
        {found && candidateFacts(link.kind, found).map((fact) => <span key={fact}>{fact}</span>)}
      </span>
      <p>
        {methodName(link.method)}
        <span className="dim" title={moment(link.made_at)}>
          {' '}
          · {link.made_by ? `${link.made_by}, ` : ''}
          {ago(link.made_at)}
        </span>
      </p>
      {found && <Traits traits={found.traits} />}
    </div>
  )
}

export function StudyLinks({ study: of }: { study: StudyDetail }) {
  const [choosing, setChoosing] = useState<Kind>()
  const decide = useDecide()
  const name = of.study_description || 'The study'
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/studies/{study}/links', { params: { path: { study: String(of.id) } } })
  if (error && !data) return <ErrorNotice error={error} title="The links could not be loaded" onRetry={() => void refetch()} />
  if (!data) return <Skeleton height={120} m={14} />
  if (!data.links.length) return <p className={study.none}>The study is tied to nothing: its source has no OMOP CDM, or it has not been looked at yet.</p>
  const act = (kind: Kind, decision: ReturnType<typeof leave>) =>
    decide.mutate({ what: doneText(kind, [decision], name), decisions: [{ kind, decisions: [decision], alike: false }] })
  const hasPerson = data.links.some((one) => one.kind === 'person' && one.target_id !== null)
  return (
    <div className={classes.links}>
      <ul aria-label="Links of the study">
        {data.links.map((link) => (
          <li key={link.kind} className={classes.link} data-testid="study-link" data-kind={link.kind}>
            <b>{KIND_NAMES[link.kind]}</b>
            <Target of={of} link={link} />
            <div className={classes.acts}>
              <Button size="compact-sm" variant="default" disabled={link.kind !== 'person' && !hasPerson} onClick={() => setChoosing(link.kind)}>
                {link.target_id === null ? 'Choose…' : 'Choose another…'}
              </Button>
              {link.reason !== 'unlinked' && (
                <Button size="compact-sm" variant="default" disabled={decide.isPending} onClick={() => act(link.kind, refuse(of.id))}>
                  {link.target_id === null ? 'Must not be linked' : 'Unlink'}
                </Button>
              )}
              {(link.method === 'by_hand' || link.reason === 'unlinked') && (
                <Button size="compact-sm" variant="default" disabled={decide.isPending} onClick={() => act(link.kind, leave(of.id))}>
                  Let the rules decide
                </Button>
              )}
            </div>
          </li>
        ))}
      </ul>
      <Failed error={decide.error} />
      <h2>Decisions</h2>
      <Changes changes={data.decisions} />
      {choosing && <Choose study={of.id} kind={choosing} name={name} onClose={() => setChoosing(undefined)} />}
    </div>
  )
}
