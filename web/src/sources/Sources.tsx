/** The sources, and the remote archive of each. */
import { ActionIcon, Button } from '@mantine/core'
import { IconPencil } from '@tabler/icons-react'
import { useState } from 'react'
import { api } from '../api/client'
import type { Source } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { duration, plural } from '../common/format'
import classes from '../settings/settings.module.css'
import { IndexForm } from './IndexForm'
import { SourceForm } from './SourceForm'
import { held, policy } from './text'

function SourceRow({ source, onEdit, onIndex }: { source: Source; onEdit: () => void; onIndex: () => void }) {
  const test = api.useMutation('post', '/api/v1/imaging/sources/{key}/test')
  const remote = source.dicomweb_url !== ''
  const answer = test.data
  return (
    <li className={classes.row} data-testid="source">
      <div className={classes.about}>
        <strong>{source.name}</strong>
        <span className="dim">
          {source.key}, {plural(source.studies, 'study', 'studies')}
        </span>
        {remote ? <span>{source.dicomweb_url}</span> : <span className="dim">No remote archive</span>}
        {remote && <span className="dim">{policy(source)}</span>}
        {remote && held(source) && <span>{held(source)}</span>}
        <div role="status">
          {answer && (
            <span className={classes.mood} data-mood={answer.ok ? 'good' : 'bad'} data-testid="tested">
              {answer.message} {answer.services.length > 1 && answer.services.join(', ')} ({duration(answer.milliseconds)})
            </span>
          )}
        </div>
        {test.error && <ErrorNotice error={test.error} title="It could not be tested" />}
      </div>
      <div className={classes.acts}>
        {remote && (
          <>
            <Button size="compact-sm" onClick={onIndex}>
              Index
            </Button>
            <Button size="compact-sm" variant="default" loading={test.isPending} onClick={() => test.mutate({ params: { path: { key: source.key } } })}>
              Test
            </Button>
          </>
        )}
        <ActionIcon variant="default" aria-label={`Edit ${source.name}`} onClick={onEdit}>
          <IconPencil size={15} />
        </ActionIcon>
      </div>
    </li>
  )
}

export function Sources() {
  const [editing, setEditing] = useState<Source>()
  const [indexing, setIndexing] = useState<Source>()
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/sources', {}, { refetchInterval: 3000 })
  if (error && !data) return <ErrorNotice error={error} title="The sources could not be loaded" onRetry={() => void refetch()} />
  return (
    <section aria-labelledby="sources" className={classes.section}>
      <header>
        <h2 id="sources">Sources and their remote archives</h2>
      </header>
      <ul className={classes.list}>
        {data?.map((source) => (
          <SourceRow key={source.key} source={source} onEdit={() => setEditing(source)} onIndex={() => setIndexing(source)} />
        ))}
      </ul>
      {editing && <SourceForm source={editing} onClose={() => setEditing(undefined)} />}
      {indexing && <IndexForm source={indexing} onClose={() => setIndexing(undefined)} />}
    </section>
  )
}
