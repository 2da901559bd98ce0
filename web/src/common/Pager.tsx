/** Where in a list one is, and the way to its other pages. */
import { Pagination } from '@mantine/core'
import { count } from './format'
import classes from './common.module.css'

interface Props {
  page: number
  size: number
  total: number
  /** Plural of what is listed. */
  noun: string
  onPage: (page: number) => void
}

export function Pager({ page, size, total, noun, onPage }: Props) {
  const pages = Math.max(1, Math.ceil(total / size))
  const first = total ? (page - 1) * size + 1 : 0
  const last = Math.min(page * size, total)
  return (
    <nav className={classes.pager} aria-label={`Pages of ${noun}`}>
      <span data-testid="pager-range">
        {total ? `${count(first)}–${count(last)} of ${count(total)} ${noun}` : `No ${noun}`}
      </span>
      {pages > 1 && (
        <Pagination
          size="sm"
          value={page}
          total={pages}
          onChange={onPage}
          siblings={1}
          getControlProps={(control) => ({ 'aria-label': control === 'previous' ? 'Previous page' : 'Next page' })}
          getItemProps={(n) => ({ 'aria-label': `Page ${n}` })}
        />
      )}
    </nav>
  )
}
