/** Webhooks in sentences. Pure. */
import type { Delivery, Webhook } from '../api/types'
import { ago } from '../common/format'
import { type Fares, nextTry } from '../settings/fares'

/** Types of events that there are; others may be named too. */
export const TYPES = [
  'hilum.instance.stored.v1', 'hilum.instance.deleted.v1', 'hilum.instance.restored.v1', 'hilum.series.deleted.v1', 'hilum.series.restored.v1',
  'hilum.study.revised.v1', 'hilum.study.processed.v1', 'hilum.study.edited.v1', 'hilum.study.deleted.v1', 'hilum.study.restored.v1', 'hilum.study.indexed.v1',
  'hilum.study.linked.v1', 'hilum.study.unlinked.v1', 'hilum.workitem.created.v1', 'hilum.workitem.updated.v1', 'hilum.workitem.deleted.v1',
]

/** An event's type without what all have in common: `study.revised`. */
export function shortType(type: string): string {
  return type.replace(/^hilum\./, '').replace(/\.v1$/, '')
}

/** What a webhook is sent: `study.revised of source default, as whole events`. */
export function told({ types, sources, mode }: Pick<Webhook, 'types' | 'sources' | 'mode'>): string {
  const what = types.length ? types.map(shortType).join(', ') : 'Every event'
  const where = sources.length ? ` of source ${sources.join(', ')}` : ''
  return `${what}${where}${mode === 'structured' ? ', each as one document' : ''}`
}

/** How a webhook fares, by its state and its last delivery. */
export function fares(hook: Webhook, last: Delivery | undefined, now = Date.now()): Fares {
  if (!hook.active) return { mood: 'still', sentence: 'It is off: what happens waits for it.' }
  if (hook.failing_since) return { mood: 'bad', sentence: `${hook.problem} ${nextTry(hook.retry_at, now)}` }
  if (!last) return { mood: 'good', sentence: 'Nothing has been sent to it yet.' }
  const when = ago(last.tried_at, now)
  if (last.state === 'delivered') return { mood: 'good', sentence: `It took ${shortType(last.type)} ${when}.` }
  if (last.state === 'retrying') return { mood: 'bad', sentence: `${last.reason} ${nextTry(last.due_at, now)}` }
  return { mood: 'bad', sentence: `It did not take ${shortType(last.type)} ${when}: ${last.reason}` }
}
