import { describe, expect, it } from 'vitest'
import { requests } from './collect'

const file = (path: string, size = 10) => ({ path, file: { size } })

describe('requests', () => {
  it('cuts a large folder by number of files and keeps the order', () => {
    const all = Array.from({ length: 2001 }, (_, i) => file(`a/${i}.dcm`))
    const cut = requests(all, 100, 1e9)
    expect(cut).toHaveLength(21)
    expect(Math.max(...cut.map((one) => one.length))).toBe(100)
    expect(cut.flat()).toEqual(all)
  })
  it('cuts by bytes, and a file over the limit goes alone', () => {
    const cut = requests([file('a', 60), file('b', 60), file('c', 500), file('d', 30)], 100, 100)
    expect(cut.map((one) => one.map((item) => item.path))).toEqual([['a'], ['b'], ['c'], ['d']])
  })
  it('sends a zip alone', () => {
    const cut = requests([file('a'), file('cd.ZIP'), file('b')])
    expect(cut.map((one) => one.map((item) => item.path))).toEqual([['a'], ['cd.ZIP'], ['b']])
  })
  it('makes no request of nothing', () => {
    expect(requests([])).toEqual([])
  })
})
