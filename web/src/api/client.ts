/** The one way to the server: typed by its own OpenAPI document (`npm run api`), cached by the query client. */
import { QueryClient } from '@tanstack/react-query'
import createFetchClient from 'openapi-fetch'
import createClient from 'openapi-react-query'
import type { paths } from './schema'

export const fetchClient = createFetchClient<paths>({ baseUrl: '/' })
export const api = createClient(fetchClient)

/** What went wrong, as the server says it (RFC 9457) or as the browser met it. */
interface Problem {
  status?: number
  title?: string
  detail?: unknown
}

function isProblem(error: unknown): error is Problem {
  return typeof error === 'object' && error !== null && ('detail' in error || 'title' in error)
}

/** A sentence for a person, whatever was thrown. */
export function sentence(error: unknown): string {
  if (isProblem(error)) {
    if (typeof error.detail === 'string' && error.detail) return error.detail
    if (error.title) return error.title.endsWith('.') ? error.title : `${error.title}.`
  }
  if (error instanceof TypeError) return 'The server does not answer. Is it still running?'
  if (error instanceof Error && error.message) return error.message
  return 'Something went wrong, and the server did not say what.'
}

export function statusOf(error: unknown): number | undefined {
  return isProblem(error) ? error.status : undefined
}

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      // An answer that says no (4xx) says it again; only a lost connection or a server error is worth another try.
      retry: (count, error) => count < 2 && (statusOf(error) ?? 500) >= 500,
      retryDelay: (count) => 400 * 2 ** count,
    },
  },
})
