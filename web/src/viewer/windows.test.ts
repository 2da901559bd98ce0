import { describe, expect, it } from 'vitest'
import type { Frame, Window } from './frames'
import { nextToLoad, ranges } from './prefetch'
import { fromRange, presetByKey, toRange } from './windows'

const frame = (modality: string, windows: Window[]) => ({ modality, windows }) as Frame

describe('windows', () => {
  it('follows the linear formula of PS3.3 both ways', () => {
    expect(toRange(40, 400, false)).toEqual({ lower: -160, upper: 239 })
    expect(fromRange(-160, 239, false)).toEqual({ center: 40, width: 400 })
  })
  it('follows the exact formula of PS3.3 both ways', () => {
    expect(toRange(2.5, 5, true)).toEqual({ lower: 0, upper: 5 })
    expect(fromRange(0, 5, true)).toEqual({ center: 2.5, width: 5 })
  })
  it('gives CT its presets and the file its own under 6', () => {
    const ct = frame('CT', [{ center: 1, width: 2, name: "The file's own" }])
    expect(presetByKey(ct, '2')?.name).toBe('Lung')
    expect(presetByKey(ct, '6')?.center).toBe(1)
  })
  it('gives other modalities only what the file brings', () => {
    const mr = frame('MR', [{ center: 500, width: 1000, name: 'A' }])
    expect(presetByKey(mr, '1')?.center).toBe(500)
    expect(presetByKey(mr, '6')?.center).toBe(500)
    expect(presetByKey(mr, '2')).toBeUndefined()
  })
})

describe('prefetch', () => {
  const sequence = (count: number, index: number, room: number) => {
    const done = new Set([index])
    for (;;) {
      const next = nextToLoad(count, index, (i) => done.has(i), room)
      if (next === undefined) return [...done]
      done.add(next)
    }
  }
  it('loads the nearest first, ahead before behind, until all are there', () => {
    expect(sequence(6, 2, 100)).toEqual([2, 3, 1, 4, 0, 5])
    expect(sequence(4, 0, 100)).toEqual([0, 1, 2, 3])
    expect(sequence(1, 0, 100)).toEqual([0])
  })
  it('holds no more than there is room for', () => {
    expect(sequence(1000, 500, 5)).toEqual([500, 501, 499, 502, 498])
    expect(sequence(10, 5, 1)).toEqual([5])
  })
  it('draws neighbours as one range', () => {
    expect(ranges(new Set([4, 0, 1, 5, 9]))).toEqual([[0, 2], [4, 6], [9, 10]])
  })
})
