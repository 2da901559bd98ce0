/** What the page of links shows, as it stands in the URL. */
import { oneOf, type RawSearch, text, whole } from '../common/search'

export const VIEWS = ['refused', 'quality', 'maps'] as const
export const KINDS = ['person', 'procedure', 'visit'] as const
export const PAGE_SIZE = 20

export type Kind = (typeof KINDS)[number]

export interface LinksSearch {
  /** Absent: the queue. */
  view?: (typeof VIEWS)[number] | undefined
  kind?: Kind | undefined
  reason?: string | undefined
  source?: string | undefined
  page?: number | undefined
}

export function linksSearch(raw: RawSearch): LinksSearch {
  const page = whole(raw.page)
  const kind = oneOf(raw.kind, KINDS)
  // What is not there is said to be undefined: else the router would keep what stands in the URL.
  return {
    view: oneOf(raw.view, VIEWS),
    kind,
    // A reason is one of its kind.
    reason: kind && text(raw.reason),
    source: text(raw.source),
    page: page === 1 ? undefined : page,
  }
}
