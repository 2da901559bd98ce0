/** What the study list shows, as it stands in the URL, and the question to the server that it means. */
import type { StudyQuery } from '../api/types'
import { compact, oneOf, type RawSearch, text, whole } from '../common/search'

export const PAGE_SIZE = 20
export const DEFAULT_SORT = '-study_date'

const FIELDS = ['study_date', 'modality', 'body_part', 'patient', 'facility', 'physician', 'report_status', 'received_at'] as const
const SORTS = FIELDS.flatMap((field) => [field, `-${field}`])
const DATE = /^\d{4}-\d{2}-\d{2}$/

export interface StudiesSearch {
  q?: string | undefined
  source?: string | undefined
  modality?: string | undefined
  body_part?: string | undefined
  date_from?: string | undefined
  date_to?: string | undefined
  status?: 'indexed' | 'processed' | 'error' | undefined
  report_status?: 'placeholder' | 'attached' | 'queued' | undefined
  sort?: string | undefined
  page?: number | undefined
}

function day(value: unknown): string | undefined {
  const given = text(value)
  return given && DATE.test(given) && !Number.isNaN(Date.parse(given)) ? given : undefined
}

/** Reads the URL; what cannot be meant is left out rather than sent to the server. */
export function studiesSearch(raw: RawSearch): StudiesSearch {
  const sort = oneOf(text(raw.sort), SORTS)
  const page = whole(raw.page)
  return compact({
    q: text(raw.q),
    source: text(raw.source),
    modality: text(raw.modality),
    body_part: text(raw.body_part),
    date_from: day(raw.date_from),
    date_to: day(raw.date_to),
    status: oneOf(raw.status, ['indexed', 'processed', 'error'] as const),
    report_status: oneOf(raw.report_status, ['placeholder', 'attached', 'queued'] as const),
    sort: sort === DEFAULT_SORT ? undefined : sort,
    page: page === 1 ? undefined : page,
  })
}

export function studyQuery({ page = 1, sort = DEFAULT_SORT, modality, ...filters }: StudiesSearch): StudyQuery {
  return { ...filters, ...(modality ? { modality: [modality] } : {}), sort, limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE }
}

const FILTERS = ['q', 'source', 'modality', 'body_part', 'date_from', 'date_to', 'status', 'report_status'] as const

export function isFiltered(search: StudiesSearch): boolean {
  return FILTERS.some((key) => search[key] !== undefined)
}
