/** What narrows the list. Each filter stands in the URL; on a phone they fold away behind one button. */
import { ActionIcon, Autocomplete, Button, Select, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { IconAdjustmentsHorizontal, IconX } from '@tabler/icons-react'
import { useState } from 'react'
import { api } from '../api/client'
import { count } from '../common/format'
import { modalityName } from '../common/modalities'
import { isFiltered, type StudiesSearch } from './search'
import classes from './studies.module.css'

const BODY_PARTS = ['ABDOMEN', 'BREAST', 'CHEST', 'EXTREMITY', 'HEAD', 'HEART', 'HIP', 'KNEE', 'NECK', 'PELVIS', 'SPINE', 'WHOLEBODY']

const REPORTS = [
  { value: 'attached', label: 'Report attached' },
  { value: 'queued', label: 'Report queued' },
  { value: 'placeholder', label: 'No report yet' },
]

const STATUSES = [
  { value: 'indexed', label: 'Indexed' },
  { value: 'processed', label: 'Processed' },
  { value: 'error', label: 'Error' },
]

interface Props {
  search: StudiesSearch
  onChange: (change: Partial<StudiesSearch>) => void
}

export function Filters({ search, onChange }: Props) {
  const [open, setOpen] = useState(false)
  const [part, setPart] = useState<string | null>(null)
  const commitPart = useDebouncedCallback((body_part: string) => onChange({ body_part: body_part.trim() || undefined }), 300)
  const { data: stats } = api.useQuery('get', '/api/v1/imaging/stats', {}, { staleTime: 15_000 })
  const { data: sources } = api.useQuery('get', '/api/v1/imaging/sources', {}, { staleTime: 60_000 })
  const byModality = Object.entries(stats?.studies_by_modality ?? {}).sort(([, a], [, b]) => b - a)
  const modalities = byModality.map(([code, n]) => ({ value: code, label: `${code} · ${count(n)}` }))
  if (search.modality && !modalities.some(({ value }) => value === search.modality))
    modalities.push({ value: search.modality, label: search.modality })
  const active = [search.modality, search.body_part, search.date_from, search.date_to, search.report_status, search.status, search.source]
    .filter(Boolean).length
  return (
    <>
      <Button
        className={classes.filterToggle}
        size="xs"
        variant="default"
        aria-expanded={open}
        aria-controls="study-filters"
        leftSection={<IconAdjustmentsHorizontal size={15} />}
        onClick={() => setOpen(!open)}
      >
        Filters{active ? ` · ${active}` : ''}
      </Button>
      <div className={classes.filters} id="study-filters" data-open={open || undefined}>
        <Select
          size="xs"
          w={118}
          aria-label="Modality"
          placeholder="Modality"
          clearable
          data={modalities}
          value={search.modality ?? null}
          renderOption={({ option }) => (
            <span className={classes.option}>
              <b>{option.value}</b>
              <span className="dim">{modalityName(option.value)}</span>
              <span>{count(stats?.studies_by_modality[option.value])}</span>
            </span>
          )}
          comboboxProps={{ width: 270, position: 'bottom-start' }}
          onChange={(modality) => onChange({ modality: modality ?? undefined })}
        />
        <Autocomplete
          size="xs"
          w={108}
          aria-label="Body part"
          placeholder="Body part"
          data={BODY_PARTS}
          value={part ?? search.body_part ?? ''}
          onChange={(value) => {
            setPart(value)
            commitPart(value)
          }}
          onBlur={() => {
            commitPart.flush()
            setPart(null)
          }}
        />
        <span className={classes.dates}>
          <TextInput
            size="xs"
            type="date"
            w={124}
            aria-label="Study date from"
            max={search.date_to}
            value={search.date_from ?? ''}
            onChange={(event) => onChange({ date_from: event.currentTarget.value || undefined })}
          />
          <span className="dim" aria-hidden>
            –
          </span>
          <TextInput
            size="xs"
            type="date"
            w={124}
            aria-label="Study date to"
            min={search.date_from}
            value={search.date_to ?? ''}
            onChange={(event) => onChange({ date_to: event.currentTarget.value || undefined })}
          />
        </span>
        <Select
          size="xs"
          w={108}
          aria-label="Report"
          placeholder="Report"
          clearable
          data={REPORTS}
          value={search.report_status ?? null}
          onChange={(report_status) => onChange({ report_status: (report_status ?? undefined) as StudiesSearch['report_status'] })}
        />
        <Select
          size="xs"
          w={96}
          aria-label="Status"
          placeholder="Status"
          clearable
          data={STATUSES}
          value={search.status ?? null}
          onChange={(status) => onChange({ status: (status ?? undefined) as StudiesSearch['status'] })}
        />
        {(search.source ?? (sources?.length ?? 0) > 1) ? (
          <Select
            size="xs"
            w={118}
            aria-label="Source"
            placeholder="Source"
            clearable
            data={(sources ?? []).map((source) => ({ value: source.key, label: source.name }))}
            value={search.source ?? null}
            onChange={(source) => onChange({ source: source ?? undefined })}
          />
        ) : null}
        {isFiltered(search) && (
          <ActionIcon
            size={30}
            variant="subtle"
            color="gray"
            aria-label="Clear the filters"
            title="Clear the filters"
            onClick={() =>
              onChange({
                q: undefined, source: undefined, modality: undefined, body_part: undefined, date_from: undefined,
                date_to: undefined, status: undefined, report_status: undefined,
              })
            }
          >
            <IconX size={16} />
          </ActionIcon>
        )}
      </div>
    </>
  )
}
