/** How far Hilum is with a study, and whether its report is there: a word and a dot, never colour alone. */
import { Tooltip } from '@mantine/core'
import { IconFileCheck, IconFileTime } from '@tabler/icons-react'
import classes from './status.module.css'

const WORDS: Record<string, string> = { indexed: 'Indexed', processed: 'Processed', error: 'Error' }
const AWAITED: Record<string, string> = { instances: 'more instances', linkage: 'its link to the CDM', features: 'its features' }

/** What a study waits for before it is processed, as a sentence; empty where it waits for nothing. */
export const waitsFor = (awaits: readonly string[]) => (awaits.length ? `Waits for ${awaits.map((step) => AWAITED[step] ?? step).join(' and ')}.` : '')

export function StudyStatus({ status, reason }: { status: string; reason?: string | null }) {
  const mark = (
    <span className={classes.status} data-status={status}>
      {WORDS[status] ?? status}
    </span>
  )
  return reason ? (
    <Tooltip label={reason} multiline maw={320}>
      {mark}
    </Tooltip>
  ) : (
    mark
  )
}

export function ReportStatus({ status }: { status: string | null | undefined }) {
  if (status === 'attached')
    return (
      <span className={classes.report} data-report="attached">
        <IconFileCheck size={15} stroke={1.7} aria-hidden /> Attached
      </span>
    )
  if (status === 'queued')
    return (
      <span className={classes.report} data-report="queued">
        <IconFileTime size={15} stroke={1.7} aria-hidden /> Queued
      </span>
    )
  return <span className="dim">None</span>
}
