/** What the study page shows, as it stands in the URL. */
import { compact, oneOf, type RawSearch, text, whole } from '../common/search'

export const INSTANCE_PAGE = 25
export const TABS = ['instances', 'tags', 'links', 'revisions', 'files', 'versions'] as const
export const INSTANCE_SORTS = ['instance_number', '-instance_number', 'slice_location', '-slice_location'] as const

export interface StudySearch {
  series?: string | undefined
  tab?: (typeof TABS)[number] | undefined
  sort?: (typeof INSTANCE_SORTS)[number] | undefined
  page?: number | undefined
  /** The instance whose tags are shown, from 1, in geometric order. */
  nth?: number | undefined
  /** What the tags are searched for. */
  find?: string | undefined
  /** Where the same UID lies in two sources: which one. */
  source?: string | undefined
}

export function studySearch(raw: RawSearch): StudySearch {
  const tab = oneOf(raw.tab, TABS)
  const page = whole(raw.page)
  const nth = whole(raw.nth)
  return compact({
    series: text(raw.series),
    tab: tab === 'instances' ? undefined : tab,
    sort: oneOf(raw.sort, INSTANCE_SORTS),
    page: page === 1 ? undefined : page,
    nth: nth === 1 ? undefined : nth,
    find: text(raw.find),
    source: text(raw.source),
  })
}
