/** Which rows of a tag list are seen: a search keeps the sequences that lead to what it found, a closed sequence hides what is in it. */
import type { Tag } from '../api/types'

export interface VisibleTag {
  row: Tag
  /** Place in the whole list: the key of the row, and of what is closed. */
  index: number
  /** It has items below it that can be folded away. */
  opens: boolean
}

export function matches(row: Tag, needle: string): boolean {
  const hay = `${row.tag} ${row.tag.replace(',', '')} ${row.keyword} ${row.name} ${row.value}`.toLowerCase()
  return hay.includes(needle)
}

export function visibleTags(rows: readonly Tag[], find: string, closed: ReadonlySet<number>): VisibleTag[] {
  const needle = find.trim().toLowerCase().replace(/^\((.*)\)$/, '$1')
  const keep = new Array<boolean>(rows.length).fill(!needle)
  if (needle) {
    const path: number[] = []
    rows.forEach((row, index) => {
      path.length = Math.min(path.length, row.depth)
      path[row.depth] = index
      if (matches(row, needle)) for (const ancestor of path) keep[ancestor] = true
    })
  }
  const out: VisibleTag[] = []
  let hiddenBelow = Infinity
  rows.forEach((row, index) => {
    if (row.depth <= hiddenBelow) hiddenBelow = Infinity
    if (row.depth > hiddenBelow || !keep[index]) return
    const opens = (rows[index + 1]?.depth ?? 0) > row.depth
    out.push({ row, index, opens })
    if (opens && closed.has(index)) hiddenBelow = row.depth
  })
  return out
}
