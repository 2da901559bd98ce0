/** Every DICOM tag of an instance: searched as one types, sequences indented and foldable. */
import { Button, CloseButton, NumberInput, Skeleton, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { IconChevronDown, IconChevronRight, IconSearch } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '../api/client'
import type { Series, StudyDetail } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { count, plural } from '../common/format'
import { visibleTags } from './tags'
import type { StudySearch } from './search'
import classes from './study.module.css'

/** An enhanced multi-frame has tens of thousands of rows; the browser draws this many at first. */
const FIRST_ROWS = 600

interface Props {
  study: StudyDetail
  series: Series
  search: Pick<StudySearch, 'nth' | 'find'>
  onChange: (part: Pick<StudySearch, 'nth' | 'find'>) => void
}

export function TagPanel({ study, series, search, onChange }: Props) {
  const nth = Math.min(search.nth ?? 1, Math.max(1, series.num_instances))
  const [draft, setDraft] = useState<string | null>(null)
  const [closed, setClosed] = useState<ReadonlySet<number>>(new Set())
  const [limit, setLimit] = useState(FIRST_ROWS)
  const commit = useDebouncedCallback((find: string) => onChange({ find: find.trim() || undefined }), 300)
  const place = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/instances',
    { params: { path: { study: String(study.id) }, query: { series: String(series.id), limit: 1, offset: nth - 1 } } },
    { placeholderData: keepPreviousData, staleTime: 60_000 },
  )
  const sop = place.data?.items[0]?.sop_instance_uid
  const header = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/instances/{sop_instance_uid}/tags',
    { params: { path: { study: String(study.id), sop_instance_uid: sop ?? '' } } },
    { enabled: sop !== undefined, placeholderData: keepPreviousData, staleTime: 300_000 },
  )
  const { data } = header
  const error = place.error ?? header.error
  const refetch = () => {
    void place.refetch()
    if (sop) void header.refetch()
  }
  const find = draft ?? search.find ?? ''
  const rows = data ? visibleTags(data.items, find, closed) : []
  const toggle = (index: number) => {
    const next = new Set(closed)
    if (!next.delete(index)) next.add(index)
    setClosed(next)
  }
  const sequences = data?.items.flatMap((row, index) => ((data.items[index + 1]?.depth ?? 0) > row.depth ? [index] : [])) ?? []
  return (
    <div>
      <div className={classes.tagBar}>
        <TextInput
          size="xs"
          className={classes.tagSearch}
          aria-label="Search tags"
          placeholder="Keyword, tag or value"
          leftSection={<IconSearch size={14} />}
          rightSection={
            find ? (
              <CloseButton
                size="xs"
                aria-label="Clear the search"
                onClick={() => {
                  setDraft('')
                  onChange({ find: undefined })
                }}
              />
            ) : null
          }
          value={find}
          onChange={(event) => {
            setDraft(event.currentTarget.value)
            commit(event.currentTarget.value)
          }}
        />
        {series.num_instances > 1 && (
          <NumberInput
            size="xs"
            w={150}
            aria-label="Instance whose tags are shown"
            prefix="Instance "
            suffix={` of ${series.num_instances}`}
            min={1}
            max={series.num_instances}
            clampBehavior="strict"
            allowDecimal={false}
            value={nth}
            onChange={(value) => typeof value === 'number' && value >= 1 && onChange({ nth: value === 1 ? undefined : value })}
          />
        )}
        {sequences.length > 0 && (
          <Button size="xs" variant="default" onClick={() => setClosed(closed.size ? new Set() : new Set(sequences))}>
            {closed.size ? 'Open sequences' : 'Close sequences'}
          </Button>
        )}
        <span className="dim" role="status">
          {data ? (find.trim() ? `${count(rows.length)} of ${plural(data.items.length, 'tag')}` : plural(data.items.length, 'tag')) : ''}
        </span>
      </div>
      {error && <ErrorNotice error={error} title="The tags could not be read" onRetry={refetch} />}
      {!data && !error && (
        <div className={classes.tagWait}>
          {Array.from({ length: 12 }, (_, i) => (
            <Skeleton key={i} height={12} width={`${40 + ((i * 37) % 55)}%`} />
          ))}
        </div>
      )}
      {data && (
        <div className={classes.scroll} tabIndex={0} role="region" aria-label="Tags">
          <table className={`table ${classes.tags}`} aria-label="DICOM tags">
            <thead>
              <tr>
                <th scope="col" style={{ width: '8.4rem' }}>
                  <span>Tag</span>
                </th>
                <th scope="col" style={{ width: '34%' }}>
                  <span>Keyword</span>
                </th>
                <th scope="col" style={{ width: '3rem' }}>
                  <span>VR</span>
                </th>
                <th scope="col">
                  <span>Value</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, limit).map(({ row, index, opens }) => (
                <tr key={index} data-testid="tag-row" data-depth={row.depth || undefined}>
                  <td className="mono" style={{ paddingLeft: 10 + row.depth * 16 }}>
                    {opens ? (
                      <button
                        type="button"
                        className={classes.fold}
                        aria-expanded={!closed.has(index)}
                        aria-label={`${closed.has(index) ? 'Open' : 'Close'} ${row.keyword || row.tag}`}
                        onClick={() => toggle(index)}
                      >
                        {closed.has(index) ? <IconChevronRight size={13} /> : <IconChevronDown size={13} />}
                      </button>
                    ) : null}
                    {row.tag}
                  </td>
                  <td title={row.name}>{row.keyword || <span className="dim">{row.name || 'Private'}</span>}</td>
                  <td className="mono dim">{row.vr}</td>
                  <td className={classes.value}>{row.value}</td>
                </tr>
              ))}
              {rows.length === 0 && (
                <tr>
                  <td colSpan={4} className="dim">
                    No tag matches.
                  </td>
                </tr>
              )}
            </tbody>
          </table>
          {rows.length > limit && (
            <Button m="sm" size="xs" variant="default" onClick={() => setLimit(limit + 2000)}>
              Show more of the {count(rows.length - limit)} others
            </Button>
          )}
        </div>
      )}
    </div>
  )
}
