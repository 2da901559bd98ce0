import { describe, expect, it } from 'vitest'
import type { Destination } from '../api/types'
import { asSentence, fares, whereabouts } from './text'

const NONE = { sources: [], modalities: [], senders: [], station_names: [], patterns: [] }
const NODE = {
  id: 1, name: 'PACS', kind: 'cstore', credentials: 'none', active: true, failures: 0, retry_at: null, error: '', last_sent_at: null,
  address: { host: 'pacs', port: 104, called_ae_title: 'PACS', tls: true },
} as unknown as Destination

describe('asSentence', () => {
  it('says what a rule does', () => {
    expect(asSentence({ when: 'instance', conditions: NONE }, 'PACS')).toBe('Each instance goes to PACS as it arrives.')
    const asked = { ...NONE, modalities: ['CT', 'MR', 'US'], senders: ['CT1'], patterns: [{ attribute: 'StationName', pattern: '^A' }] }
    expect(asSentence({ when: 'study', conditions: asked }, 'VNA')).toBe(
      'Each CT, MR or US study sent by CT1, whose StationName matches ^A goes to VNA once it is complete.',
    )
  })
})

describe('a destination', () => {
  it('is where it is', () => expect(whereabouts(NODE)).toBe('C-STORE to PACS at pacs, port 104, over TLS'))
  it('fares as it does', () => {
    expect(fares(NODE)).toEqual({ mood: 'good', sentence: 'Nothing has been sent to it yet.' })
    expect(fares({ ...NODE, active: false }).mood).toBe('still')
    const down = { ...NODE, failures: 2, error: 'Nobody answers there.', retry_at: '2026-01-01T00:00:10Z' }
    expect(fares(down, Date.parse('2026-01-01T00:00:00Z')).sentence).toBe('Nobody answers there. Next try in 10 seconds.')
    expect(fares(down, Date.parse('2026-01-01T00:01:00Z')).sentence).toBe('Nobody answers there. It is tried again now.')
  })
})
