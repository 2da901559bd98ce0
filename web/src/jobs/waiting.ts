/** The lists of what waits for a person. */
import { keepPreviousData } from '@tanstack/react-query'
import { api } from '../api/client'
import { PAGE_SIZE } from './search'

const OPTIONS = { placeholderData: keepPreviousData, refetchInterval: 15_000 } as const

function query(page: number | undefined) {
  return { params: { query: page === undefined ? { limit: 1 } : { limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } }
}

/** A page of the studies without a patient; without a page, one row for the count. */
export function useQuarantine(page: number | undefined) {
  return api.useQuery('get', '/api/v1/imaging/quarantine', query(page), OPTIONS)
}

/** A page of the studies of two patients; without a page, one row for the count. */
export function useConflicts(page: number | undefined) {
  return api.useQuery('get', '/api/v1/imaging/conflicts', query(page), OPTIONS)
}

/** The study that a row is about, with its series; nothing as long as there is none. */
export function useDetail(study: number | null) {
  return api.useQuery('get', '/api/v1/imaging/studies/{study}', { params: { path: { study: String(study) } } }, { enabled: study !== null })
}
