/** What the study was each time it was complete, latest first; each opens to what had changed, by series. */
import { Skeleton } from '@mantine/core'
import { IconChevronRight } from '@tabler/icons-react'
import { useState } from 'react'
import { api } from '../api/client'
import type { RevisionCounts, StudyDetail } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { ago, count, moment, plural } from '../common/format'
import { Pager } from '../common/Pager'
import { INSTANCE_PAGE } from './search'
import classes from './study.module.css'

const REASONS: Record<RevisionCounts['reason'], string> = {
  quiet: 'No more instances came',
  expected: 'All that was expected came',
  manual: 'Completed or restored by hand',
  deleted: 'Something was deleted',
}

interface Amounts {
  added: number
  removed: number
  replaced: number
}

function Amounts({ added, removed, replaced }: Amounts) {
  const parts = [
    [added, '+', 'added'],
    [removed, '−', 'removed'],
    [replaced, '↻', 'replaced'],
  ] as const
  return (
    <span className={classes.amounts}>
      {parts
        .filter(([amount]) => amount > 0)
        .map(([amount, sign, word]) => (
          <span key={word} data-change={word} title={`${plural(amount, 'instance')} ${word}`}>
            <span aria-hidden>{sign}</span>
            {count(amount)}
            <span className="sr-only"> {word}</span>
          </span>
        ))}
    </span>
  )
}

function Changes({ study, number }: { study: StudyDetail; number: number }) {
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/revisions/{number}/changes',
    { params: { path: { study: String(study.id), number } } },
    { staleTime: Infinity },
  )
  if (error) return <ErrorNotice error={error} title="What changed could not be loaded" onRetry={() => void refetch()} />
  if (!data) return <Skeleton height={22} my={6} />
  return (
    <ul className={classes.changed}>
      {data.map((series) => {
        const known = study.series.find((one) => one.series_instance_uid === series.series_instance_uid)
        return (
          <li key={series.series_instance_uid}>
            <span className="ellipsis" title={series.series_instance_uid}>
              {series.series_number == null ? '' : `${series.series_number} · `}
              {series.modality}
              {known?.series_description ? ` · ${known.series_description}` : ''}
              {known ? '' : ' · no longer here'}
            </span>
            <Amounts {...series} />
          </li>
        )
      })}
    </ul>
  )
}

function Revision({ study, revision }: { study: StudyDetail; revision: RevisionCounts }) {
  const [open, setOpen] = useState(false)
  const { number, reason, made_at, num_instances, num_added, num_removed, num_replaced } = revision
  return (
    <li data-testid="revision">
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
        <IconChevronRight size={15} aria-hidden />
        <strong>Revision {number}</strong>
        <Amounts added={num_added} removed={num_removed} replaced={num_replaced} />
        <time className="dim" dateTime={made_at} title={moment(made_at)}>
          {ago(made_at)}
        </time>
        <span className={`dim ${classes.why}`}>
          {REASONS[reason]} · {plural(num_instances, 'instance')}
        </span>
      </button>
      {open && <Changes study={study} number={number} />}
    </li>
  )
}

export function Revisions({ study, page, onPage }: { study: StudyDetail; page: number; onPage: (page: number) => void }) {
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/revisions',
    { params: { path: { study: String(study.id) }, query: { limit: INSTANCE_PAGE, offset: (page - 1) * INSTANCE_PAGE } } },
    { staleTime: 0 },
  )
  if (error && !data) return <ErrorNotice error={error} title="The revisions could not be loaded" onRetry={() => void refetch()} />
  if (!data) return <Skeleton height={120} m={14} />
  return (
    <>
      {study.awaits.includes('instances') && <p className={classes.coming}>Instances are still coming, or have just come: the next revision is made when they have stopped.</p>}
      {data.total === 0 ? (
        <p className={classes.none}>The study has not been complete yet.</p>
      ) : (
        <ol className={classes.timeline} aria-label="Revisions">
          {data.items.map((revision) => (
            <Revision key={revision.number} study={study} revision={revision} />
          ))}
        </ol>
      )}
      {data.total > INSTANCE_PAGE && <Pager page={page} size={INSTANCE_PAGE} total={data.total} noun="revisions" onPage={onPage} />}
    </>
  )
}
