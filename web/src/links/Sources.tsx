/** Of which source; nothing where there is only one. */
import { Select } from '@mantine/core'
import type { LinkSource } from '../api/types'

interface Props {
  sources: LinkSource[]
  value: string | undefined
  /** Whether all of them together can be looked at. */
  every?: boolean
  onChange: (source: string | undefined) => void
}

export function Sources({ sources, value, every = false, onChange }: Props) {
  if (sources.length < 2) return null
  return (
    <Select
      size="xs"
      w={190}
      aria-label="Source"
      placeholder="Every source"
      clearable={every}
      allowDeselect={every}
      data={sources.map((one) => ({ value: one.key, label: one.name || one.key }))}
      value={value ?? (every ? null : (sources[0]?.key ?? null))}
      onChange={(source) => onChange(source ?? undefined)}
    />
  )
}
