/** What the study page shows, as it stands in the URL. */
import { compact, oneOf, type RawSearch, text, whole } from '../common/search'

export const INSTANCE_PAGE = 25
export const TABS = ['instances', 'tags', 'files'] as const
export const INSTANCE_SORTS = ['instance_number', '-instance_number', 'slice_location', '-slice_location'] as const

export interface StudySearch {
  series?: string | undefined
  tab?: (typeof TABS)[number] | undefined
  sort?: (typeof INSTANCE_SORTS)[number] | undefined
  page?: number | undefined
  /** Frame whose tags are shown, from 1, in geometric order. */
  frame?: number | undefined
  /** What the tags are searched for. */
  find?: string | undefined
  /** Where the same UID lies in two sources: which one. */
  source?: string | undefined
}

export function studySearch(raw: RawSearch): StudySearch {
  const tab = oneOf(raw.tab, TABS)
  const page = whole(raw.page)
  const frame = whole(raw.frame)
  return compact({
    series: text(raw.series),
    tab: tab === 'instances' ? undefined : tab,
    sort: oneOf(raw.sort, INSTANCE_SORTS),
    page: page === 1 ? undefined : page,
    frame: frame === 1 ? undefined : frame,
    find: text(raw.find),
    source: text(raw.source),
  })
}
