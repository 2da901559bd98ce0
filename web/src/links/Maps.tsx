/** A site's mapping tables: a CSV is read and shown first, with what of it cannot be used, and loaded on request. */
import { Button, FileButton } from '@mantine/core'
import { useMutation } from '@tanstack/react-query'
import { IconFileImport, IconTable } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { api, fetchClient, queryClient } from '../api/client'
import type { LinkSource, MapLoaded, MapPreview } from '../api/types'
import { Failed } from '../common/Failed'
import common from '../common/common.module.css'
import { count, plural } from '../common/format'
import { hasEnded } from '../upload/store'
import type { LinksSearch } from './search'
import { Sources } from './Sources'
import classes from './page.module.css'

const POLL_MS = 600

function formOf(file: File): FormData {
  const form = new FormData()
  form.append('file', file)
  return form
}

/** The browser writes the form; the body as the types want it is never looked at. */
const asForm = (file: File) => ({ body: { file: file.name }, bodySerializer: () => formOf(file) })

function Figures({ told }: { told: MapPreview }) {
  const what = told.kind === 'persons' ? 'person' : 'procedure'
  const figures: [number, string, boolean][] = [
    [told.rows, told.rows === 1 ? 'line read' : 'lines read', false],
    [told.new, 'new', false],
    [told.changed, 'changed', false],
    [told.refused, 'rejected', told.refused > 0],
    [told.unknown, `whose ${what} is not in the CDM`, told.unknown > 0],
    [told.studies, told.studies === 1 ? 'study has one of the numbers' : 'studies have one of the numbers', false],
  ]
  return (
    <dl className={classes.figures}>
      {figures.map(([figure, text, bad]) => (
        <div key={text}>
          <dd data-bad={bad || undefined}>{count(figure)}</dd>
          <dt>{text}</dt>
        </div>
      ))}
    </dl>
  )
}

function Lines({ told }: { told: MapPreview }) {
  const persons = told.kind === 'persons'
  const heads = ['Line', persons ? 'PatientID' : 'Number', persons ? 'Issuer' : 'PatientID', persons ? 'person_id' : 'procedure_occurrence_id', 'So far']
  return (
    <div className={classes.scroll}>
      <table className="table">
        <thead>
          <tr>
            {heads.map((head) => (
              <th key={head} scope="col">
                <span>{head}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {told.lines.map((one) => (
            <tr key={one.line} data-testid="map-line">
              <td>{one.line}</td>
              <td>{one.number}</td>
              <td>{one.beside || <span className="dim">any</span>}</td>
              <td>
                {one.target} {!one.known && <span className={classes.bad}>not in the CDM</span>}
              </td>
              <td>{one.before ?? <span className="dim">nothing</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Preview({ told }: { told: MapPreview }) {
  return (
    <>
      <Figures told={told} />
      {told.refused > 0 && (
        <section className={classes.section}>
          <h2>Rejected</h2>
          <ul className={classes.rejected}>
            {told.examples.map((one) => (
              <li key={one.line} data-testid="map-rejected">
                Line {one.line}: {one.reason}
              </li>
            ))}
          </ul>
          {told.refused > told.examples.length && <p className="dim">and {count(told.refused - told.examples.length)} more.</p>}
        </section>
      )}
      {told.lines.length > 0 && (
        <section className={classes.section}>
          <h2>{told.lines.length < told.rows ? `The first ${String(told.lines.length)} of ${count(told.rows)} lines` : 'What was read'}</h2>
          <Lines told={told} />
        </section>
      )}
    </>
  )
}

function Loaded({ loaded, name }: { loaded: MapLoaded; name: string }) {
  const { data: job } = api.useQuery(
    'get',
    '/api/v1/imaging/jobs/{job_id}',
    { params: { path: { job_id: loaded.job_id } } },
    { refetchInterval: (query) => (query.state.data && hasEnded(query.state.data) ? false : POLL_MS) },
  )
  const ended = job && hasEnded(job)
  return (
    <div className={classes.loaded} data-testid="loaded" data-state={job?.state}>
      <p role="status">
        {name}: {plural(loaded.new, 'new line')}, {count(loaded.changed)} changed.{' '}
        {!ended && 'The studies of the source are linked anew…'}
        {job?.state === 'succeeded' && `${plural(job.counts['changed'] ?? 0, 'study is', 'studies are')} tied to something else than before.`}
        {ended && job.state !== 'succeeded' && 'The studies were not linked anew.'}{' '}
        <Link to="/jobs" search={{ job: String(loaded.job_id) }}>
          Open the job
        </Link>
      </p>
    </div>
  )
}

interface Props {
  sources: LinkSource[]
  search: LinksSearch
  onChange: (part: Partial<LinksSearch>) => void
}

export function Maps({ sources, search, onChange }: Props) {
  const source = search.source ?? sources[0]?.key ?? 'default'
  const [file, setFile] = useState<File>()
  const params = { query: { source } }
  const look = useMutation({
    mutationFn: async (chosen: File) => {
      const { data, error } = await fetchClient.POST('/api/v1/imaging/links/maps/preview', { params, ...asForm(chosen) })
      if (error) throw error as unknown
      return data
    },
  })
  const load = useMutation({
    mutationFn: async (chosen: File) => {
      const { data, error } = await fetchClient.POST('/api/v1/imaging/links/maps', { params, ...asForm(chosen) })
      if (error) throw error as unknown
      return data
    },
    onSuccess: () => void queryClient.invalidateQueries(),
  })
  const choose = (chosen: File | null) => {
    if (!chosen) return
    setFile(chosen)
    load.reset()
    look.mutate(chosen)
  }
  const failed = look.error ?? load.error
  return (
    <div className={classes.page}>
      <Sources
        sources={sources}
        value={source}
        onChange={(next) => {
          setFile(undefined)
          look.reset()
          load.reset()
          onChange({ source: next })
        }}
      />
      {!file && (
        <div className={common.empty}>
          <IconTable size={42} stroke={1.4} />
          <h2>Say by a table what the CDM does not know</h2>
          <p>
            A CSV with <code>PatientID</code> and <code>person_id</code> (a <code>personal_map.csv</code> is one), or with <code>AccessionNumber</code> and{' '}
            <code>procedure_occurrence_id</code>. It is shown here before anything is loaded.
          </p>
        </div>
      )}
      <div className={classes.choice}>
        <FileButton accept=".csv,text/csv" onChange={choose} inputProps={{ 'aria-label': 'Mapping table', tabIndex: -1 }}>
          {(props) => (
            <Button {...props} variant={file ? 'default' : 'filled'} leftSection={<IconFileImport size={16} />} loading={look.isPending}>
              {file ? 'Choose another file' : 'Choose a CSV file'}
            </Button>
          )}
        </FileButton>
        {file && look.data && !load.data && (
          <Button disabled={!look.data.rows} loading={load.isPending} onClick={() => load.mutate(file)}>
            Load {plural(look.data.rows, 'line')}
          </Button>
        )}
        {file && <span className="dim">{file.name}</span>}
      </div>
      <Failed error={failed} />
      {load.data && <Loaded loaded={load.data} name={file?.name ?? ''} />}
      {look.data && <Preview told={look.data} />}
    </div>
  )
}
