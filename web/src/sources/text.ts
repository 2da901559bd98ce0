/** What a source's remote archive is and does, in words. */
import type { Source } from '../api/types'
import { bytes, plural } from '../common/format'

export const FETCH: { value: Source['fetch']; label: string }[] = [
  { value: 'asked', label: 'When somebody asks for them' },
  { value: 'indexed', label: 'By themselves, once indexed' },
  { value: 'never', label: 'Never' },
]

export const LOGINS: { value: Source['dicomweb_credentials']; label: string }[] = [
  { value: 'none', label: 'Nothing' },
  { value: 'basic', label: 'User name and password' },
  { value: 'bearer', label: 'Token' },
  { value: 'oidc', label: 'OIDC client' },
]

/** When images come, and how long they stay. */
export function policy(source: Source): string {
  if (source.fetch === 'never') return 'Images are not fetched.'
  const when = source.fetch === 'asked' ? 'Images are fetched when somebody asks for them' : `Images${source.fetch_modalities.length ? ` of ${source.fetch_modalities.join(', ')}` : ''} are fetched once indexed`
  const limits = [
    source.keep_days === null ? '' : `for ${plural(source.keep_days, 'day')}`,
    source.keep_bytes === null ? '' : `up to ${bytes(source.keep_bytes)}`,
  ].filter(Boolean)
  return `${when}${limits.length ? `, and kept ${limits.join(', ')}` : ''}.`
}

/** What of it is here. */
export function held(source: Source): string {
  const { held, bytes: size, waiting, failed } = source.copies
  const parts = [
    held ? `${plural(held, 'study', 'studies')} fetched (${bytes(size)})` : '',
    waiting ? `${plural(waiting, 'study', 'studies')} on the way` : '',
    failed ? `${plural(failed, 'study', 'studies')} could not be fetched` : '',
  ]
  return parts.filter(Boolean).join(', ')
}
