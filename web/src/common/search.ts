/**
 * The state of a page lives in its URL. Every search parameter is plain text there (no JSON quoting), so that a link can be read and typed;
 * the routes turn text into numbers themselves.
 */
export type RawSearch = Record<string, unknown>

export function parseSearch(query: string): RawSearch {
  return Object.fromEntries(new URLSearchParams(query))
}

export function stringifySearch(search: RawSearch): string {
  const params = new URLSearchParams()
  for (const [key, value] of Object.entries(search)) {
    if (value === undefined || value === null || value === '') continue
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') params.set(key, String(value))
  }
  const text = params.toString()
  return text ? `?${text}` : ''
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value.trim() ? value : undefined
}

/** A whole number from `least` on; anything else is as if it was not there. */
export function whole(value: unknown, least = 1): number | undefined {
  const n = typeof value === 'number' ? value : typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : NaN
  return Number.isInteger(n) && n >= least ? n : undefined
}

export function oneOf<T extends string>(value: unknown, allowed: readonly T[]): T | undefined {
  return allowed.find((item) => item === value)
}

/** Without the keys whose value is undefined, so that equal states are equal URLs. */
export function compact<T extends object>(search: T): T {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined)) as T
}
