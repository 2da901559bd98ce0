/** What becomes of a decision: the job that takes the files, followed to its end. */
import { Link } from '@tanstack/react-router'
import { useEffect } from 'react'
import { api, queryClient } from '../api/client'
import { count, plural } from '../common/format'
import { hasEnded } from '../upload/store'
import { Reasons } from './Reasons'
import classes from './jobs.module.css'

export interface Settled {
  conflict: number
  job: number
  study: number | null
  /** The id of the patient whose all of it is. */
  patient: string
}

const POLL_MS = 600

export function SettledLine({ settled, onEnd }: { settled: Settled; onEnd: () => void }) {
  const { data: job } = api.useQuery(
    'get',
    '/api/v1/imaging/jobs/{job_id}',
    { params: { path: { job_id: settled.job } } },
    { refetchInterval: (query) => (query.state.data && hasEnded(query.state.data) ? false : POLL_MS) },
  )
  const state = job && hasEnded(job) ? job.state : undefined
  useEffect(() => {
    if (!state) return
    // The list without the conflict first; only then is the decision over.
    void queryClient.invalidateQueries().then(onEnd)
    // eslint-disable-next-line react-hooks/exhaustive-deps -- once, when it ends
  }, [state])
  const taken = job ? (job.counts['instances'] ?? 0) + (job.counts['replaced'] ?? 0) + (job.counts['duplicates'] ?? 0) : 0
  return (
    <div className={classes.settled} data-testid="settled" data-state={job?.state}>
      <p role="status">
        {!state && `Decided for ${settled.patient}. Taking the files${job?.total ? `: ${count(job.done)} of ${count(job.total)}` : ''}…`}
        {state === 'succeeded' && `All of it is with ${settled.patient} now; ${plural(taken, 'file')} joined the study.`}
        {(state === 'failed' || state === 'cancelled') && `Decided for ${settled.patient}, but the files were not taken. ${job?.log.at(-1)?.message ?? ''}`}{' '}
        {state === 'succeeded' && settled.study !== null && (
          <Link to="/imaging/$studyId" params={{ studyId: String(settled.study) }} search={{}}>
            Open the study
          </Link>
        )}
        {state && state !== 'succeeded' && (
          <Link to="/jobs" search={{ job: String(settled.job) }}>
            Open the job
          </Link>
        )}
      </p>
      {!!job?.reasons.length && <Reasons reasons={job.reasons} />}
    </div>
  )
}
