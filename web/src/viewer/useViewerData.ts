/** The study, and the DICOM metadata of the chosen series, from the series' own DICOMweb URL. */
import { useQuery } from '@tanstack/react-query'
import { api } from '../api/client'
import type { Series } from '../api/types'
import type { Dataset } from './dicomjson'

/** The URL of a series below this page's own origin: the policy of the page allows no other, and a proxy may know the server by another name. */
export function seriesRoot(series: Series): string {
  const { pathname } = new URL(series.dicomweb_url, window.location.href)
  return `${window.location.origin}${pathname.replace(/\/$/, '')}`
}

async function fetchMetadata(root: string, signal: AbortSignal): Promise<Dataset[]> {
  const response = await fetch(`${root}/metadata`, { headers: { Accept: 'application/dicom+json' }, signal })
  if (response.status === 204) return []
  if (!response.ok) {
    const body: unknown = await response.json().catch(() => null)
    if (typeof body === 'object' && body !== null) throw body
    throw new Error(`The server answered ${response.status} when asked for the metadata of the series.`)
  }
  return (await response.json()) as Dataset[]
}

export function useStudy(studyId: string, source: string | undefined) {
  return api.useQuery('get', '/api/v1/imaging/studies/{study}', {
    params: { path: { study: studyId }, query: source ? { source } : {} },
  })
}

export function useMetadata(series: Series | undefined) {
  return useQuery({
    queryKey: ['series-metadata', series?.dicomweb_url],
    enabled: series !== undefined && series.num_images > 0,
    staleTime: Infinity,
    gcTime: 60_000,
    queryFn: ({ signal }) => (series ? fetchMetadata(seriesRoot(series), signal) : []),
  })
}
