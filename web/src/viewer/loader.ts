/**
 * The metadata of an instance as Cornerstone's loader can take it. It reads `Value` only and fails without an error where something
 * that DICOM leaves open is absent; what it needs is put in here, on a copy.
 */
import { type Dataset, items, nums, str } from './dicomjson'

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

/** Windows and their VOI LUT function where they stand: LINEAR_EXACT becomes the LINEAR window that shows the same range of values. */
function withWindows(dataset: Dataset): Dataset {
  const shape = str(dataset, '00281056')
  const copy = { ...dataset }
  const moved = (tag: string, by: number) => {
    const values = nums(dataset, tag)
    if (values) copy[tag] = { vr: 'DS', Value: values.map((value) => value + by) }
  }
  if (shape === 'LINEAR_EXACT') {
    moved('00281050', 0.5)
    moved('00281051', 1)
  }
  // The loader takes the first of the function's "values": given the bare word, its first letter, which then is no function.
  if (shape && SHAPES.has(shape)) copy['00281056'] = { vr: 'CS', Value: [[shape]] }
  else delete copy['00281056']
  return copy
}

/** The functional groups of an enhanced multi-frame (PS3.3 C.7.6.16), with the windows in them as the loader can take them. */
function withGroups(dataset: Dataset): Dataset {
  const copy = { ...dataset }
  for (const groups of ['52009229', '52009230'].filter((tag) => dataset[tag])) {
    const Value = items(dataset, groups).map((group) =>
      group['00289132'] ? { ...group, '00289132': { vr: 'SQ', Value: items(group, '00289132').map(withWindows) } } : group)
    copy[groups] = { vr: 'SQ', Value }
  }
  return copy
}

export function forLoader(dataset: Dataset): Dataset {
  const copy = withWindows(withGroups(str(dataset, '00280004') === 'PALETTE COLOR' ? withPalette(dataset) : dataset))
  if (!str(copy, '00080060')) copy['00080060'] = { vr: 'CS', Value: ['OT'] }
  return copy
}
