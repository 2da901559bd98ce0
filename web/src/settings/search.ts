/** What the settings page shows, as it stands in the URL. */
import { compact, oneOf, type RawSearch, text, whole } from '../common/search'
import { DELIVERY_STATES } from '../deliveries/text'
import { STATES } from '../forwarding/text'

export const SECTIONS = ['forwarding', 'webhooks', 'deliveries', 'sources'] as const

export interface SettingsSearch {
  /** Absent: the first. */
  section?: (typeof SECTIONS)[number] | undefined
  /** The rule whose queue is open. */
  rule?: string | undefined
  state?: (typeof STATES)[number] | undefined
  /** The consumer whose deliveries are open. */
  consumer?: string | undefined
  delivery?: (typeof DELIVERY_STATES)[number] | undefined
  page?: number | undefined
}

export function settingsSearch(raw: RawSearch): SettingsSearch {
  const page = whole(raw.page)
  return compact({
    section: oneOf(raw.section, SECTIONS),
    rule: text(raw.rule),
    state: oneOf(raw.state, STATES),
    consumer: text(raw.consumer),
    delivery: oneOf(raw.delivery, DELIVERY_STATES),
    page: page === 1 ? undefined : page,
  })
}
