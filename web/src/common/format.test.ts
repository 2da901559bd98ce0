import { describe, expect, it } from 'vitest'
import { age, ago, bytes, date, duration, plural, time } from './format'

describe('format', () => {
  it('counts bytes in decimal units', () => {
    expect([0, 999, 1000, 528_000, 99_600, 1_234_567, 3_456_789_000].map((n) => bytes(n))).toEqual([
      '0 B', '999 B', '1.0 kB', '528 kB', '100 kB', '1.2 MB', '3.5 GB',
    ])
    expect(bytes(999_999)).toBe('1.0 MB')
    expect(bytes(null)).toBe('–')
  })
  it('reads DICOM and ISO dates and times alike', () => {
    expect(date('20260914')).toBe('2026-09-14')
    expect(date('2026-09-14')).toBe('2026-09-14')
    expect(time('101559.123')).toBe('10:15')
    expect(time('10:15:59')).toBe('10:15')
  })
  it('tells ages as a radiologist does', () => {
    expect(age('1961-04-02', '2026-04-01')).toBe('64 y')
    expect(age('1961-04-02', '2026-04-02')).toBe('65 y')
    expect(age('2026-01-10', '2026-04-15')).toBe('3 mo')
    expect(age('2026-04-10', '2026-04-15')).toBe('5 d')
    expect(age(null, '2026-04-15')).toBeNull()
    expect(age('2027-04-10', '2026-04-15')).toBeNull()
  })
  it('tells times and durations', () => {
    const now = Date.parse('2026-11-21T20:00:00Z')
    expect(ago('2026-11-21T19:59:50Z', now)).toBe('just now')
    expect(ago('2026-11-21T19:56:00Z', now)).toBe('4 min ago')
    expect(ago('2026-11-21T15:00:00Z', now)).toBe('5 h ago')
    expect([800, 61_000, 3_780_000].map(duration)).toEqual(['0.8 s', '1 min 1 s', '1 h 3 min'])
  })
  it('agrees in number', () => {
    expect(plural(1, 'image')).toBe('1 image')
    expect(plural(2000, 'study', 'studies')).toBe('2,000 studies')
  })
})
