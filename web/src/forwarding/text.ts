/** Destinations, rules and their queue in sentences. Pure. */
import type { Destination, Rule, RuleIn } from '../api/types'
import { count } from '../common/format'
import { type Fares, nextTry } from '../settings/fares'

export const STATES = ['waiting', 'sending', 'sent', 'dead', 'skipped'] as const
export type State = (typeof STATES)[number]

export const STATE_NAMES: Record<State, string> = {
  waiting: 'Waiting',
  sending: 'Being sent',
  sent: 'Sent',
  dead: 'Dead letters',
  skipped: 'Not sent',
}

/** Where a destination is: `STOW-RS to https://pacs.example/dicom-web`. */
export function whereabouts({ kind, address }: Destination): string {
  if (kind === 'stow') return `STOW-RS to ${address.base_url || address.url}`
  return `C-STORE to ${address.called_ae_title} at ${address.host}, port ${String(address.port)}${address.tls ? ', over TLS' : ''}`
}

/** How a destination fares. */
export function fares(destination: Destination, now = Date.now()): Fares {
  if (!destination.active) return { mood: 'still', sentence: 'Paused: what is for it waits.' }
  if (destination.failures === 0) return { mood: 'good', sentence: destination.last_sent_at ? 'It takes what it is sent.' : 'Nothing has been sent to it yet.' }
  return { mood: 'bad', sentence: `${destination.error} ${nextTry(destination.retry_at, now)}` }
}

function either(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1) ?? ''}`
}

/** A rule as one sentence: `Each CT instance from scanner CT1 goes to PACS as it arrives.` */
export function asSentence(rule: Pick<RuleIn, 'when' | 'conditions'>, destination: string): string {
  const asked = rule.conditions
  const what = [either(asked?.modalities ?? []), rule.when === 'study' ? 'study' : 'instance'].filter(Boolean).join(' ')
  const parts = [
    asked?.sources?.length ? `of source ${either(asked.sources)}` : '',
    asked?.senders?.length ? `sent by ${either(asked.senders)}` : '',
    asked?.station_names?.length ? `from station ${either(asked.station_names)}` : '',
    ...(asked?.patterns ?? []).map((one) => `whose ${one.attribute} matches ${one.pattern}`),
  ].filter(Boolean)
  const end = rule.when === 'study' ? 'once it is complete' : 'as it arrives'
  return `Each ${[what, parts.join(', ')].filter(Boolean).join(' ')} goes to ${destination} ${end}.`
}

/** The counts of a rule that say something, in order. */
export function figures({ counts }: Rule): [string, string][] {
  const found: [string, string][] = [
    [count(counts.waiting), 'waiting'],
    [count(counts.sent), 'sent'],
  ]
  if (counts.sending) found.splice(1, 0, [count(counts.sending), 'being sent'])
  if (counts.dead) found.push([count(counts.dead), counts.dead === 1 ? 'dead letter' : 'dead letters'])
  if (counts.per_minute) found.push([count(counts.per_minute), 'in the last minute'])
  return found
}
