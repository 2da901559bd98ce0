/** What the running upload is doing, and at its end what came of it: counts, reasons, and the way to what arrived. */
import { Anchor, Button, CloseButton, Progress } from '@mantine/core'
import { IconAlertTriangle, IconCircleCheck, IconCircleX } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useEffect } from 'react'
import { bytes, count, plural } from '../common/format'
import { Reasons } from '../jobs/Reasons'
import { hasEnded, mergedReasons, totals, type UploadState, uploads, useUpload } from './store'
import { WhoseForm } from './WhoseForm'
import classes from './upload.module.css'

/** How many instances came that the archive now has, new or not. */
function arrived({ jobs }: UploadState): number {
  const sum = totals(jobs)
  return (sum['instances'] ?? 0) + (sum['replaced'] ?? 0) + (sum['duplicates'] ?? 0)
}

function title(state: UploadState): string {
  switch (state.phase) {
    case 'reading':
      return state.found ? `Reading the folder: ${count(state.found)} files` : 'Reading the folder'
    case 'sending':
      return `Sending ${count(state.filesSent)} of ${plural(state.files, 'file')}`
    case 'importing':
      return 'Importing'
    case 'done':
      if (state.jobs.some((job) => job.state === 'failed')) return 'Imported in part'
      return arrived(state) ? 'Imported' : 'Nothing was imported'
    case 'cancelled':
      return 'Cancelled'
    default:
      return 'The upload stopped'
  }
}

/** `1 new study, 2 series, 40 instances with 40 images`, and what was there already. */
export function summary(sum: Record<string, number>): string[] {
  const n = (key: string) => sum[key] ?? 0
  const lines: string[] = []
  const got = [
    n('studies_new') ? plural(n('studies_new'), 'new study', 'new studies') : '',
    n('studies_updated') ? plural(n('studies_updated'), 'study updated', 'studies updated') : '',
    n('series') ? plural(n('series'), 'series', 'series') : '',
    n('instances') ? `${plural(n('instances'), 'instance')} with ${plural(n('images'), 'image')}` : '',
  ].filter(Boolean)
  lines.push(got.length ? `${got.join(', ')}.` : 'Nothing new.')
  if (n('duplicates')) lines.push(`${plural(n('duplicates'), 'instance')} already here.`)
  if (n('replaced')) lines.push(`${plural(n('replaced'), 'instance')} replaced by a newer version.`)
  if (n('bundle_files')) lines.push(`${plural(n('bundle_files'), 'other file')} kept with the study.`)
  return lines
}

function Bars({ state }: { state: UploadState }) {
  const sent = state.bytes ? (100 * state.bytesSent) / state.bytes : 0
  const done = state.jobs.reduce((sum, job) => sum + (hasEnded(job) ? (job.total ?? job.done) : job.done), 0)
  const known = state.jobs.every((job) => job.total !== null)
  const total = Math.max(state.jobs.reduce((sum, job) => sum + (job.total ?? job.done), 0), known ? state.files : 0, 1)
  return (
    <>
      {state.phase === 'sending' && (
        <>
          <Progress value={sent} size="sm" aria-label="Sent" />
          <div className={classes.note}>
            {bytes(state.bytesSent)} of {bytes(state.bytes)} sent
          </div>
        </>
      )}
      {state.phase === 'reading' && <Progress value={100} size="sm" striped animated aria-label="Reading" />}
      {(state.phase === 'importing' || (state.phase === 'sending' && state.jobs.length > 0)) && (
        <>
          <Progress value={Math.min(100, (100 * done) / total)} size="sm" aria-label="Imported" />
          <div className={classes.note}>{plural(done, 'file')} imported</div>
        </>
      )}
    </>
  )
}

export function UploadTray() {
  const state = useUpload()
  if (!state.asking && state.phase === 'idle') return null
  return (
    <div className={classes.trays}>
      {state.asking && <WhoseForm asking={state.asking} />}
      {state.phase !== 'idle' && <Tray state={state} />}
    </div>
  )
}

function Tray({ state }: { state: UploadState }) {
  const busy = state.phase === 'reading' || state.phase === 'sending' || state.phase === 'importing'
  useEffect(() => {
    if (state.phase !== 'sending' && state.phase !== 'reading') return
    const warn = (event: BeforeUnloadEvent) => event.preventDefault()
    window.addEventListener('beforeunload', warn)
    return () => window.removeEventListener('beforeunload', warn)
  }, [state.phase])
  const sum = totals(state.jobs)
  const reasons = mergedReasons(state.jobs)
  const waiting = sum['studies_quarantined'] ?? 0
  const conflict = reasons.some((reason) => reason.code === 'patient_conflict')
  const aside = sum['set_aside'] ?? 0
  const ended = !busy && state.jobs.length > 0
  const failures = state.jobs.filter((job) => job.state === 'failed')
  const good = !failures.length && arrived(state) > 0
  return (
    <section className={classes.tray} aria-label="Upload" data-phase={state.phase} data-testid="upload-tray">
      <header className={classes.head}>
        {state.phase === 'done' && good && <IconCircleCheck size={19} className={classes.good} />}
        {state.phase === 'done' && !good && <IconAlertTriangle size={19} className={classes.warn} />}
        {state.phase === 'failed' && <IconCircleX size={19} className={classes.bad} />}
        <strong role="status">{title(state)}</strong>
        {busy ? (
          <Button size="compact-xs" variant="default" onClick={() => void uploads.cancel()}>
            Cancel
          </Button>
        ) : (
          <CloseButton size="sm" aria-label="Close" onClick={() => uploads.close()} />
        )}
      </header>
      <Bars state={state} />
      {state.error && (
        <div role="alert" className={classes.error}>
          <p>{state.error}</p>
          {uploads.canResume && (
            <Button size="compact-sm" variant="default" onClick={() => uploads.resume()}>
              Go on from here
            </Button>
          )}
        </div>
      )}
      {ended && (
        <div className={classes.result} data-testid="upload-summary">
          {summary(sum).map((line) => (
            <p key={line}>{line}</p>
          ))}
          {failures.map((job) => (
            <p key={job.id} className={classes.bad}>
              {job.log.at(-1)?.message ?? `${job.title} failed.`}
            </p>
          ))}
          {reasons.length > 0 && <Reasons reasons={reasons} />}
          <nav className={classes.links}>
            {arrived(state) > 0 && (
              <Anchor renderRoot={(props) => <Link to="/imaging" search={{ sort: '-received_at' }} {...props} />}>Show what arrived</Anchor>
            )}
            {waiting > 0 && (
              <Anchor renderRoot={(props) => <Link to="/jobs" search={{ view: 'quarantine' }} {...props} />}>
                {plural(waiting, 'study', 'studies')} without a patient
              </Anchor>
            )}
            {conflict && <Anchor renderRoot={(props) => <Link to="/jobs" search={{ view: 'conflicts' }} {...props} />}>Two patients in one study</Anchor>}
            {aside > 0 && (
              <Anchor renderRoot={(props) => <Link to="/jobs" search={{ view: 'set-aside' }} {...props} />}>
                {plural(aside, 'file')} set aside
              </Anchor>
            )}
            <Anchor renderRoot={(props) => <Link to="/jobs" search={{}} {...props} />}>Jobs</Anchor>
          </nav>
        </div>
      )}
    </section>
  )
}
