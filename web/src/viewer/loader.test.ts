import { describe, expect, it } from 'vitest'
import type { Dataset } from './dicomjson'
import { forLoader } from './loader'

const words = (...values: number[]) => {
  const bytes = new Uint8Array(new Uint16Array(values).buffer)
  return btoa(String.fromCharCode(...bytes))
}

const palette = (bits: number, ...tables: string[]): Dataset => {
  const dataset: Dataset = { '00280004': { vr: 'CS', Value: ['PALETTE COLOR'] } }
  tables.forEach((InlineBinary, i) => {
    dataset[`0028110${i + 1}`] = { vr: 'US', Value: [2, 0, bits] }
    dataset[`0028120${i + 1}`] = { vr: 'OW', InlineBinary }
  })
  return dataset
}
const tables = (dataset: Dataset) => ['1', '2', '3'].map((n) => forLoader(dataset)[`0028120${n}`]?.Value)

describe('forLoader', () => {
  it('gives palettes as 8-bit numbers, all three by the same shift', () => {
    expect(tables(palette(16, words(0, 0x8000), words(0, 0), words(0xff00, 0x0100)))).toEqual([[0, 128], [0, 0], [255, 1]])
  })
  it('takes 16-bit tables that only use 8 bits as they are', () => {
    expect(tables(palette(16, words(0, 200), words(0, 3), words(255, 1)))).toEqual([[0, 200], [0, 3], [255, 1]])
  })
  it('unpacks 8-bit entries', () => {
    expect(tables(palette(8, words(0x0201), words(0x0403), words(0x0605)))).toEqual([[1, 2], [3, 4], [5, 6]])
  })
  it('names a modality where there is none, and leaves what it was given untouched', () => {
    const given: Dataset = { '00281056': { vr: 'CS', Value: ['SIGMOID'] } }
    expect(forLoader(given)['00080060']?.Value).toEqual(['OT'])
    expect(given).toEqual({ '00281056': { vr: 'CS', Value: ['SIGMOID'] } })
  })
  it('hands the VOI LUT function over as a list of words, and none that cannot be drawn', () => {
    const shape = (word: string) => forLoader({ '00281056': { vr: 'CS', Value: [word] } })['00281056']?.Value
    expect(shape('SIGMOID')).toEqual([['SIGMOID']])
    expect(shape('LINEAR')).toEqual([['LINEAR']])
    expect(shape('CUBIC')).toBeUndefined()
  })
  it('gives an exact window as the linear one of the same range, wherever it stands', () => {
    const exact: Dataset = {
      '00281050': { vr: 'DS', Value: [2.5, 3] }, '00281051': { vr: 'DS', Value: [5, 6] }, '00281056': { vr: 'CS', Value: ['LINEAR_EXACT'] },
    }
    const linear = { '00281050': { vr: 'DS', Value: [3, 3.5] }, '00281051': { vr: 'DS', Value: [6, 7] } }
    expect(forLoader(exact)).toMatchObject(linear)
    expect(forLoader(exact)['00281056']).toBeUndefined()
    const enhanced: Dataset = { '52009229': { vr: 'SQ', Value: [{ '00289132': { vr: 'SQ', Value: [exact] } }] } }
    expect(forLoader(enhanced)['52009229']?.Value).toEqual([{ '00289132': { vr: 'SQ', Value: [linear] } }])
  })
})
