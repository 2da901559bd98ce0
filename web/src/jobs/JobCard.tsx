/** One job: its state and progress in a line; what it counted, left out and wrote down when opened. */
import { Button, Progress, Skeleton } from '@mantine/core'
import { IconChevronDown, IconChevronRight, IconPlayerStop, IconRefresh } from '@tabler/icons-react'
import { api, queryClient, sentence } from '../api/client'
import type { Job } from '../api/types'
import { ago, count, duration, moment, plural } from '../common/format'
import status from '../common/status.module.css'
import { Reasons } from './Reasons'
import classes from './jobs.module.css'

const COUNTS: [string, string][] = [
  ['studies_new', 'New studies'],
  ['studies_updated', 'Studies updated'],
  ['studies_quarantined', 'Without a patient'],
  ['series', 'Series'],
  ['instances', 'Instances'],
  ['images', 'Images'],
  ['duplicates', 'Already here'],
  ['replaced', 'Replaced'],
  ['bundle_files', 'Bundle files'],
  ['set_aside', 'Set aside'],
  ['skipped', 'Skipped'],
]

const WORDS: Record<string, string> = { queued: 'Queued', running: 'Running', succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Cancelled' }

function took(job: Job): string | null {
  if (!job.started_at) return null
  const end = job.finished_at ? new Date(job.finished_at).getTime() : Date.now()
  return duration(Math.max(0, end - new Date(job.started_at).getTime()))
}

function Actions({ job }: { job: Job }) {
  const done = { onSuccess: () => void queryClient.invalidateQueries() }
  const cancel = api.useMutation('post', '/api/v1/imaging/jobs/{job_id}/cancel', done)
  const retry = api.useMutation('post', '/api/v1/imaging/jobs/{job_id}/retry', done)
  const params = { params: { path: { job_id: job.id } } }
  const error = cancel.error ?? retry.error
  return (
    <>
      {error ? (
        <span role="alert" className={classes.bad}>
          {sentence(error)}
        </span>
      ) : null}
      {(job.state === 'queued' || job.state === 'running') && (
        <Button size="compact-xs" variant="default" leftSection={<IconPlayerStop size={13} />} loading={cancel.isPending} onClick={() => cancel.mutate(params)}>
          Cancel
        </Button>
      )}
      {(job.state === 'failed' || job.state === 'cancelled') && (
        <Button size="compact-xs" variant="default" leftSection={<IconRefresh size={13} />} loading={retry.isPending} onClick={() => retry.mutate(params)}>
          Retry
        </Button>
      )}
    </>
  )
}

export function JobCard({ job, open, onOpen }: { job: Job; open: boolean; onOpen: (open: boolean) => void }) {
  const counts = COUNTS.filter(([key]) => (job.counts[key] ?? 0) > 0)
  const running = job.state === 'running' || job.state === 'queued'
  const time = took(job)
  const facts = [
    running
      ? job.total != null
        ? `${count(job.done)} of ${count(job.total)}`
        : job.done
          ? `${count(job.done)} done`
          : null
      : job.counts['instances']
        ? plural(job.counts['instances'], 'instance')
        : null,
    time,
    job.attempts > 1 ? `${count(job.attempts)} attempts` : null,
  ].filter(Boolean)
  return (
    <li className={classes.job} data-testid="job" data-state={job.state}>
      <div className={classes.line}>
        <button type="button" className={classes.toggle} aria-expanded={open} onClick={() => onOpen(!open)}>
          {open ? <IconChevronDown size={15} /> : <IconChevronRight size={15} />}
          <span className={classes.title}>{job.title}</span>
        </button>
        <span className={`${status.status} ${classes.state}`} data-status={job.state}>
          {WORDS[job.state] ?? job.state}
        </span>
        <span className={`dim ${classes.facts}`}>{facts.join(' · ')}</span>
        <span className={`dim ${classes.when}`} title={moment(job.created_at)}>
          {ago(job.created_at)}
        </span>
        <span className={classes.acts}>
          <Actions job={job} />
        </span>
      </div>
      {running && (
        <Progress
          mx={14}
          mb={9}
          size="sm"
          aria-label={`Progress of ${job.title}`}
          value={job.total ? (100 * job.done) / job.total : 100}
          animated={!job.total}
          striped={!job.total}
        />
      )}
      {open && (
        <div className={classes.body}>
          {counts.length > 0 && (
            <dl className={classes.counts}>
              {counts.map(([key, label]) => (
                <div key={key}>
                  <dd>{count(job.counts[key])}</dd>
                  <dt>{label}</dt>
                </div>
              ))}
            </dl>
          )}
          {job.reasons.length > 0 && (
            <>
              <h2>Left out</h2>
              <Reasons reasons={job.reasons} />
            </>
          )}
          {job.log.length > 0 && (
            <>
              <h2>Log</h2>
              <ol className={classes.log}>
                {job.log.map((line, index) => (
                  <li key={index}>
                    <time className="dim">{moment(line.time)}</time> {line.message}
                  </li>
                ))}
              </ol>
            </>
          )}
          {!counts.length && !job.reasons.length && !job.log.length && <p className="dim">Nothing to tell yet.</p>}
          <p className={classes.id}>
            <span className="dim">
              {job.kind} · <span className="mono">{job.id}</span>
              {job.source ? ` · source ${job.source}` : ''}
            </span>
          </p>
        </div>
      )}
    </li>
  )
}

export function JobSkeletons() {
  return (
    <div className={classes.wait}>
      {Array.from({ length: 6 }, (_, i) => (
        <Skeleton key={i} height={38} />
      ))}
    </div>
  )
}
