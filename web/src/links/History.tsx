/** What was decided of a study's links, the last first. */
import { Skeleton } from '@mantine/core'
import { api } from '../api/client'
import type { LinkChange } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { ago, moment } from '../common/format'
import { changeText } from './text'
import classes from './link.module.css'

export function Changes({ changes }: { changes: readonly LinkChange[] }) {
  if (!changes.length) return <p className="dim">Nobody has decided anything yet: what stands here is what the rules say.</p>
  return (
    <ol className={classes.history} aria-label="Decisions">
      {changes.map((one) => (
        <li key={one.id} data-testid="link-change">
          {changeText(one)}
          <span className="dim" title={moment(one.when)}>
            {' '}
            · {one.who}, {ago(one.when)}
          </span>
        </li>
      ))}
    </ol>
  )
}

export function History({ study }: { study: number }) {
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/studies/{study}/links', { params: { path: { study: String(study) } } })
  if (error && !data) return <ErrorNotice error={error} title="The decisions could not be loaded" onRetry={() => void refetch()} />
  return data ? <Changes changes={data.decisions} /> : <Skeleton height={20} />
}
