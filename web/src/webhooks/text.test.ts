import { describe, expect, it } from 'vitest'
import type { Delivery, Webhook } from '../api/types'
import { fares, told } from './text'

const HOOK: Webhook = {
  id: 1, url: 'https://receiver.example/events', types: [], sources: [], mode: 'binary', active: true, created_at: '2026-01-01T00:00:00Z',
  failing_since: null, retry_at: null, problem: '', retrying: 0, dead: 0,
}
const LAST = { type: 'hilum.study.revised.v1', state: 'delivered', reason: '', due_at: null, tried_at: '2026-01-01T00:00:00Z' } as Delivery
const NOW = Date.parse('2026-01-01T00:04:00Z')

describe('a webhook', () => {
  it('says what it is told', () => {
    expect(told(HOOK)).toBe('Every event')
    const some = { ...HOOK, types: ['hilum.study.revised.v1', 'hilum.study.deleted.v1'], sources: ['north'], mode: 'structured' as const }
    expect(told(some)).toBe('study.revised, study.deleted of source north, each as one document')
  })
  it('fares as its last delivery did', () => {
    expect(fares(HOOK, undefined, NOW)).toEqual({ mood: 'good', sentence: 'Nothing has been sent to it yet.' })
    expect(fares(HOOK, LAST, NOW).sentence).toBe('It took study.revised 4 min ago.')
    const refused = { ...LAST, state: 'dead' as const, reason: 'The receiver refuses the event (401).' }
    expect(fares(HOOK, refused, NOW)).toEqual({ mood: 'bad', sentence: 'It did not take study.revised 4 min ago: The receiver refuses the event (401).' })
    const again = { ...LAST, state: 'retrying' as const, reason: 'The receiver failed (500).', due_at: '2026-01-01T00:09:00Z' }
    expect(fares(HOOK, again, NOW).sentence).toBe('The receiver failed (500). Next try in 5 minutes.')
  })
  it('says that it is off, or cannot be reached', () => {
    expect(fares({ ...HOOK, active: false }, LAST, NOW).mood).toBe('still')
    const away = { ...HOOK, failing_since: '2026-01-01T00:03:00Z', retry_at: '2026-01-01T00:04:08Z', problem: 'The receiver cannot be reached.' }
    expect(fares(away, LAST, NOW).sentence).toBe('The receiver cannot be reached. Next try in 8 seconds.')
  })
})
