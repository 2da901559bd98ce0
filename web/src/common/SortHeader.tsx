/** A column head that sorts: one press ascending or descending as fits the column, the next one the other way. */
import { IconArrowDown, IconArrowUp } from '@tabler/icons-react'

interface Props {
  label: string
  field: string
  /** `field` or `-field`. */
  sort: string
  onSort: (sort: string) => void
  /** The first press sorts downwards (dates, newest first). */
  downFirst?: boolean
  right?: boolean
  width?: string
}

export function SortHeader({ label, field, sort, onSort, downFirst = false, right = false, width }: Props) {
  const up = sort === field
  const down = sort === `-${field}`
  const next = up ? `-${field}` : down ? field : downFirst ? `-${field}` : field
  const Icon = down ? IconArrowDown : IconArrowUp
  return (
    <th
      scope="col"
      className={right ? 'right' : undefined}
      style={width ? { width } : undefined}
      aria-sort={up ? 'ascending' : down ? 'descending' : 'none'}
    >
      <button type="button" onClick={() => onSort(next)}>
        {label}
        <Icon size={12} stroke={2} style={{ visibility: up || down ? 'visible' : 'hidden' }} aria-hidden />
      </button>
    </th>
  )
}
