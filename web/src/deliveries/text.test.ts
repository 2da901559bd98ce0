import { describe, expect, it } from 'vitest'
import type { Consumer, FhirPublication, Webhook } from '../api/types'
import { fares, figures, nameOf, publishes, tried } from './text'

const NATS: Consumer = { name: 'nats', position: 7, behind: 0, failing_since: null, retry_at: null, problem: '', retrying: 0, dead: 0 }
const NOW = Date.parse('2026-01-01T00:00:00Z')

describe('a consumer', () => {
  it('has a name for people', () => {
    expect(nameOf('webhook:2', [{ id: 2, url: 'http://here' } as Webhook])).toBe('Webhook http://here')
    expect(nameOf('webhook:3')).toBe('Webhook 3')
    expect(nameOf('nats')).toBe('NATS')
    expect(nameOf('cohorts')).toBe('cohorts, in Hilum')
  })
  it('is told of everything, or behind, or away', () => {
    expect(fares(NATS, false, NOW)).toEqual({ mood: 'good', sentence: 'It has been told of everything.' })
    expect(fares({ ...NATS, dead: 1 }, false, NOW).mood).toBe('bad')
    expect(fares({ ...NATS, behind: 1 }, false, NOW).sentence).toBe('It is 1 event behind.')
    expect(fares({ ...NATS, behind: 1200 }, true, NOW)).toEqual({ mood: 'still', sentence: 'It is off, and 1,200 events behind.' })
    const away = { ...NATS, behind: 3, failing_since: '2025-12-31T23:00:00Z', retry_at: '2026-01-01T00:10:00Z', problem: 'NATS is away.' }
    expect(fares(away, false, NOW)).toEqual({ mood: 'bad', sentence: 'NATS is away. Next try in 10 minutes.' })
  })
  it('counts what is not delivered', () => {
    expect(figures(NATS)).toEqual([])
    expect(figures({ ...NATS, dead: 1, retrying: 2 })).toEqual([['2', 'tried again'], ['1', 'dead letter']])
  })
})

it('says when a delivery was tried', () => {
  expect(tried({ attempts: 1, tried_at: '2025-12-31T23:57:00Z' }, NOW)).toBe('3 min ago')
  expect(tried({ attempts: 4, tried_at: '2025-12-31T23:57:00Z' }, NOW)).toBe('4 attempts, the last 3 min ago')
})

it('says how publication fares', () => {
  const fine = { failures: 0, problem: '', next_at: '2025-12-31T23:00:00Z', published: 3 } as FhirPublication
  expect(publishes(fine, NOW).sentence).toBe('It takes what it is sent.')
  expect(publishes({ ...fine, failures: 1, problem: 'The server answered 503.' }, NOW).mood).toBe('bad')
})
