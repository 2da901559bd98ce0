/**
 * From the metadata of a series to its stack: every frame of every instance, in the order in which a person wants to go through them.
 * Pure; positions and spacings are in mm, frames count from 1 (PS3.3 C.7.6.2, C.7.6.16).
 */
import { type Dataset, items, num, nums, str, strs } from './dicomjson'

export type Vector = readonly [number, number, number]

export interface Window {
  center: number
  width: number
  name: string
}

export interface Frame {
  sop: string
  /** Within the instance, from 1. */
  number: number
  frames: number
  instanceNumber: number | undefined
  rows: number
  columns: number
  position: Vector | undefined
  /** Row and column direction cosines. */
  orientation: readonly [Vector, Vector] | undefined
  /** Letters of the row and column directions where there is no orientation in space (projection radiography). */
  patientOrientation: readonly [string, string] | undefined
  spacing: readonly [number, number] | undefined
  sliceLocation: number | undefined
  thickness: number | undefined
  windows: Window[]
  /** Windows are LINEAR_EXACT (PS3.3 C.11.2.1.3.2). */
  exact: boolean
  modality: string | undefined
  /** What a value means: `HU`, `Bq/ml`, or nothing that is known. */
  unit: string | undefined
  color: boolean
  /** Frames a second that the file asks for. */
  rate: number | undefined
}

const vector = (values: number[] | undefined, at = 0): Vector | undefined => {
  const [x, y, z] = values?.slice(at, at + 3) ?? []
  return x === undefined || y === undefined || z === undefined ? undefined : [x, y, z]
}

const UNITS: Record<string, string> = { BQML: 'Bq/ml', CNTS: 'counts', GML: 'g/ml', PROPCNTS: 'proportional counts', CM2ML: 'cm²/ml' }

function unitOf(dataset: Dataset, modality: string | undefined, rescaleType: string | undefined): string | undefined {
  if (rescaleType && rescaleType !== 'US') return rescaleType
  if (modality === 'CT') return strs(dataset, '00080008').includes('LOCALIZER') ? undefined : 'HU'
  const units = str(dataset, '00541001')
  return units ? (UNITS[units] ?? units) : undefined
}

function windowsOf(dataset: Dataset): Window[] {
  const centers = nums(dataset, '00281050') ?? []
  const widths = nums(dataset, '00281051') ?? []
  const names = strs(dataset, '00281055')
  return centers.flatMap((center, i) => {
    const width = widths[i]
    return width !== undefined && width > 0 ? [{ center, width, name: names[i] || (i ? `The file's, ${i + 1}` : "The file's own") }] : []
  })
}

/** The functional groups of one frame of an enhanced multi-frame, its own over the shared ones, flattened to one level. */
function grouped(dataset: Dataset, frame: number): Dataset {
  const shared = items(dataset, '52009229')[0]
  const own = items(dataset, '52009230')[frame - 1]
  if (!shared && !own) return dataset
  const flat: Dataset = { ...dataset }
  for (const groups of [shared, own]) {
    if (!groups) continue
    for (const tag of Object.keys(groups)) {
      const group = items(groups, tag)[0]
      if (group) Object.assign(flat, group)
    }
  }
  return flat
}

/** Frames a second: recommended, then cine rate, then from the time between frames. */
function rateOf(dataset: Dataset): number | undefined {
  const rate = num(dataset, '00082144') ?? num(dataset, '00180040')
  if (rate && rate > 0) return rate
  const ms = num(dataset, '00181063') ?? nums(dataset, '00181065')?.[1]
  return ms && ms > 0 ? 1000 / ms : undefined
}

/** Whether there is a picture that the decoder can show; one bit a pixel (segmentations, overlays) it reads wrongly. */
export function hasImage(dataset: Dataset): boolean {
  if (num(dataset, '00280100') === 1) return false
  return (num(dataset, '00280010') ?? 0) > 0 && (num(dataset, '00280011') ?? 0) > 0 && str(dataset, '00280004') !== undefined
}

/** All frames of one instance, in the order of the file; none if it holds no picture. */
export function framesOf(dataset: Dataset): Frame[] {
  const sop = str(dataset, '00080018')
  if (!sop || !hasImage(dataset)) return []
  const count = Math.max(1, num(dataset, '00280008') ?? 1)
  const modality = str(dataset, '00080060')
  return Array.from({ length: count }, (_, i) => {
    const own = grouped(dataset, i + 1)
    const cosines = nums(own, '00200037', 6)
    const row = vector(cosines)
    const column = vector(cosines, 3)
    const [a, b] = strs(own, '00200020')
    const spacing = nums(own, '00280030', 2)
    const [dy, dx] = spacing ?? []
    return {
      sop,
      number: i + 1,
      frames: count,
      instanceNumber: num(dataset, '00200013'),
      rows: num(dataset, '00280010') ?? 0,
      columns: num(dataset, '00280011') ?? 0,
      position: vector(nums(own, '00200032', 3)),
      orientation: row && column ? ([row, column] as const) : undefined,
      patientOrientation: a && b ? ([a, b] as const) : undefined,
      spacing: dx && dy ? ([dy, dx] as const) : undefined,
      sliceLocation: num(own, '00201041'),
      thickness: num(own, '00180050'),
      windows: windowsOf(own),
      exact: str(own, '00281056') === 'LINEAR_EXACT',
      modality,
      unit: unitOf(own, modality, str(own, '00281054')),
      color: (num(dataset, '00280002') ?? 1) > 1 || str(dataset, '00280004') === 'PALETTE COLOR',
      rate: rateOf(dataset),
    }
  })
}

export function cross(a: Vector, b: Vector): Vector {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

export function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/** Distance of the slice from the origin along its normal, in mm. */
export function along(frame: Frame): number | undefined {
  if (!frame.position || !frame.orientation) return undefined
  return dot(frame.position, cross(...frame.orientation))
}

function parallel(a: Frame, b: Frame): boolean {
  if (!a.orientation || !b.orientation) return false
  return dot(cross(...a.orientation), cross(...b.orientation)) > 0.99
}

/**
 * The stack of a series. Where every instance is one slice and all lie parallel: by position along the normal, then by Instance Number.
 * Otherwise (localizers, projections, multi-frame): by Instance Number, the frames of an instance in the order of its file.
 */
export function stackOf(datasets: readonly Dataset[]): Frame[] {
  const groups = datasets.map(framesOf).filter((frames) => frames.length > 0)
  const single = groups.every((frames) => frames.length === 1)
  const flat = groups.flat()
  const base = flat[0]
  if (single && base && flat.every((frame) => frame.position && parallel(base, frame))) {
    const place = new Map(flat.map((frame) => [frame, along(frame) ?? 0]))
    return flat.sort((a, b) => {
      const apart = (place.get(a) ?? 0) - (place.get(b) ?? 0)
      return Math.abs(apart) > 1e-3 ? apart : byNumber(a, b)
    })
  }
  return flat.sort(byNumber)
}

/** By Instance Number, those without one last; then by UID, so that the order is always the same. */
function byNumber(a: Frame, b: Frame): number {
  const [m, n] = [a.instanceNumber ?? Number.MAX_SAFE_INTEGER, b.instanceNumber ?? Number.MAX_SAFE_INTEGER]
  return m - n || (a.sop < b.sop ? -1 : a.sop > b.sop ? 1 : a.number - b.number)
}

/** Where a direction in the patient points: `L`, `PR`, `H`, … (the strongest axis first; a second one when it is not small). */
export function letters(direction: Vector): string {
  const length = Math.hypot(...direction)
  if (length < 1e-6) return ''
  const axes: [number, string][] = [
    [Math.abs(direction[0]) / length, direction[0] > 0 ? 'L' : 'R'],
    [Math.abs(direction[1]) / length, direction[1] > 0 ? 'P' : 'A'],
    [Math.abs(direction[2]) / length, direction[2] > 0 ? 'H' : 'F'],
  ]
  return axes
    .filter(([weight]) => weight > 0.25)
    .sort(([a], [b]) => b - a)
    .slice(0, 2)
    .map(([, letter]) => letter)
    .join('')
}

const OPPOSITE: Record<string, string> = { L: 'R', R: 'L', A: 'P', P: 'A', H: 'F', F: 'H' }

export function opposite(text: string): string {
  return Array.from(text, (letter) => OPPOSITE[letter] ?? letter).join('')
}
