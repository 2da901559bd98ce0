/** What the jobs page shows, as it stands in the URL. */
import { compact, oneOf, type RawSearch, text, whole } from '../common/search'

export const STATES = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const
export const VIEWS = ['set-aside', 'quarantine', 'conflicts'] as const
export const PAGE_SIZE = 20

export interface JobsSearch {
  /** Absent: the jobs themselves. */
  view?: (typeof VIEWS)[number] | undefined
  state?: (typeof STATES)[number] | undefined
  /** The job that is open. */
  job?: string | undefined
  page?: number | undefined
}

export function jobsSearch(raw: RawSearch): JobsSearch {
  const page = whole(raw.page)
  return compact({
    view: oneOf(raw.view, VIEWS),
    state: oneOf(raw.state, STATES),
    job: text(raw.job),
    page: page === 1 ? undefined : page,
  })
}
