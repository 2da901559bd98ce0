/**
 * The metadata of an instance as Cornerstone's loader can take it. It reads `Value` only and fails without an error where something
 * that DICOM leaves open is absent; what it needs is put in here, on a copy.
 */
import { type Dataset, nums, str } from './dicomjson'

const PALETTE = [
  ['00281101', '00281201'],
  ['00281102', '00281202'],
  ['00281103', '00281203'],
] as const

/** VOI LUT Functions that Cornerstone draws (PS3.3 C.11.2.1.2). */
const SHAPES = new Set(['LINEAR', 'SIGMOID'])

/** 16-bit entries, little endian as DICOM JSON has them. */
function entries(base64: string): number[] {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
  const view = new DataView(bytes.buffer)
  return Array.from({ length: bytes.length >> 1 }, (_, i) => view.getUint16(2 * i, true))
}

/** Palettes as 8-bit numbers. Some files say 16 bits and use 8: the largest entry of all three tables decides. */
function withPalette(dataset: Dataset): Dataset {
  const tables = PALETTE.map(([descriptor, data]) => {
    const element = dataset[data]
    const wide = nums(dataset, descriptor, 3)
    if (!element?.InlineBinary || !wide) return null
    const [length = 0, first = 0, bits = 16] = wide
    const raw = entries(element.InlineBinary)
    // 8-bit entries are packed two in a word.
    const values = bits === 8 && raw.length < (length || 65536) ? raw.flatMap((word) => [word & 255, word >> 8]) : raw
    return { descriptor, data, first, values }
  })
  const whole = tables.filter((table) => table !== null)
  if (whole.length < 3) return dataset
  const shift = whole.some(({ values }) => values.some((value) => value > 255)) ? 8 : 0
  return Object.assign(
    { ...dataset },
    ...whole.map(({ descriptor, data, first, values }) => ({
      [descriptor]: { vr: 'US', Value: [values.length, first, 8] },
      [data]: { vr: 'OW', Value: values.map((value) => value >> shift) },
    })),
  ) as Dataset
}

export function forLoader(dataset: Dataset): Dataset {
  const copy = str(dataset, '00280004') === 'PALETTE COLOR' ? withPalette(dataset) : { ...dataset }
  if (!str(copy, '00080060')) copy['00080060'] = { vr: 'CS', Value: ['OT'] }
  // The loader takes the first of the function's "values": given the bare word, its first letter, which then is no function.
  const shape = str(copy, '00281056')
  if (shape && SHAPES.has(shape)) copy['00281056'] = { vr: 'CS', Value: [[shape]] }
  else delete copy['00281056']
  return copy
}
