/** Consumers of events and their deliveries in sentences. Pure. */
import type { Consumer, Delivery, FhirPublication, Webhook } from '../api/types'
import { ago, count, plural } from '../common/format'
import { type Fares, nextTry } from '../settings/fares'

export const DELIVERY_STATES = ['dead', 'retrying', 'delivered'] as const

export const DELIVERY_NAMES: Record<Delivery['state'], string> = {
  dead: 'Dead letters',
  retrying: 'Tried again',
  delivered: 'Delivered',
}

const NAMES: Record<string, string> = {
  nats: 'NATS',
  sites: 'Sites',
  fhir: 'FHIR, in Hilum',
  routing: 'Forwarding, in Hilum',
}

/** What people call a consumer: `Webhook https://receiver.example/events`. */
export function nameOf(consumer: string, hooks: readonly Webhook[] = []): string {
  const number = /^webhook:(\d+)$/.exec(consumer)?.[1]
  if (number) {
    const hook = hooks.find((one) => String(one.id) === number)
    return hook ? `Webhook ${hook.url}` : `Webhook ${number}`
  }
  return NAMES[consumer] ?? `${consumer}, in Hilum`
}

/** How a consumer fares. */
export function fares(consumer: Consumer, paused: boolean, now = Date.now()): Fares {
  if (consumer.failing_since) return { mood: 'bad', sentence: `${consumer.problem} ${nextTry(consumer.retry_at, now)}` }
  if (consumer.behind === 0) {
    return consumer.dead ? { mood: 'bad', sentence: 'It did not take everything.' } : { mood: 'good', sentence: 'It has been told of everything.' }
  }
  const behind = `${plural(consumer.behind, 'event')} behind.`
  return paused ? { mood: 'still', sentence: `It is off, and ${behind}` } : { mood: 'good', sentence: `It is ${behind}` }
}

/** The counts of a consumer that say something. */
export function figures({ dead, retrying }: Consumer): [string, string][] {
  const found: [string, string][] = []
  if (retrying) found.push([count(retrying), 'tried again'])
  if (dead) found.push([count(dead), dead === 1 ? 'dead letter' : 'dead letters'])
  return found
}

/** When a delivery was tried, and how often: `4 attempts, the last 3 min ago`. */
export function tried({ attempts, tried_at }: Pick<Delivery, 'attempts' | 'tried_at'>, now = Date.now()): string {
  return attempts > 1 ? `${plural(attempts, 'attempt')}, the last ${ago(tried_at, now)}` : ago(tried_at, now)
}

/** How publication to a FHIR server fares. */
export function publishes(publication: FhirPublication, now = Date.now()): Fares {
  if (publication.failures > 0) return { mood: 'bad', sentence: `${publication.problem} ${nextTry(publication.next_at, now)}` }
  return { mood: 'good', sentence: publication.published ? 'It takes what it is sent.' : 'Nothing has been sent to it yet.' }
}
