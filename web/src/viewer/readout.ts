/** What can be read off a viewport: the value under a point, where its edges lie in the patient, the range of its values. */
import { type StackViewport, type Types, utilities } from '@cornerstonejs/core'
import { type Frame, letters, opposite, type Vector } from './frames'
import type { StackState } from './state'

export const round = (value: number, digits = 2) => Number(value.toFixed(digits))

export interface Probe {
  column: number
  row: number
  value: string
  position: Vector | undefined
}

/** From a stored number to one that means something, unless the loader has done so already. */
function scaleOf(image: Types.IImage): (value: number) => number {
  return image.color || (image.preScale?.scaled ?? false) ? (value) => value : (value) => value * image.slope + image.intercept
}

/** What lies under a point of the viewport (CSS px from its left top), in the unit of the modality; null beside the picture. */
export function probe(viewport: StackViewport, frame: Frame, x: number, y: number): Probe | null {
  const data = viewport.getImageData()
  const image = viewport.getCornerstoneImage()
  // Before the first image, and where a frame was lost, the library's answers are empty whatever their types say.
  if (!(data as unknown) || !(image as unknown)) return null
  const world = viewport.canvasToWorld([x, y])
  const [column = -1, row = -1] = utilities.transformWorldToIndex(data.imageData, world) as number[]
  if (column < 0 || row < 0 || column >= image.columns || row >= image.rows) return null
  const pixels = image.getPixelData()
  const size = Math.max(1, Math.round(pixels.length / (image.rows * image.columns)))
  const at = (row * image.columns + column) * size
  const values = Array.from(pixels.slice(at, at + Math.min(3, size)), scaleOf(image))
  const text = values.map((value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5))))).join(' ')
  return {
    column: column + 1,
    row: row + 1,
    value: frame.color ? `RGB ${text}` : frame.unit ? `${text} ${frame.unit}` : text,
    position: frame.orientation && frame.position ? [world[0], world[1], world[2]] : undefined,
  }
}

/** Letters of the patient's directions at the left, right, top and bottom edge; empty where the file does not say. */
export function edges(viewport: StackViewport, element: HTMLElement, frame: Frame | undefined): StackState['edges'] {
  if (!frame || (!frame.orientation && !frame.patientOrientation)) return ['', '', '', '']
  const middle: [number, number] = [element.clientWidth / 2, element.clientHeight / 2]
  const from = viewport.canvasToWorld(middle)
  const towards = (dx: number, dy: number): Vector => {
    const to = viewport.canvasToWorld([middle[0] + dx, middle[1] + dy])
    return [to[0] - from[0], to[1] - from[1], to[2] - from[2]]
  }
  const name = (direction: Vector): string => {
    if (frame.orientation) return letters(direction)
    // Without an orientation in space the library lays columns along x and rows along y.
    const [row = '', column = ''] = frame.patientOrientation ?? []
    const [x, y] = direction
    const alongRow = Math.abs(x) >= Math.abs(y)
    const end = alongRow ? row : column
    return (alongRow ? x : y) >= 0 ? end : opposite(end)
  }
  const right = name(towards(20, 0))
  const down = name(towards(0, 20))
  return [opposite(right), right, opposite(down), down]
}

/** The least and greatest value of an image, as a range to be shown. */
export function valueRange(image: Types.IImage): { lower: number; upper: number } {
  let [low, high] = [Infinity, -Infinity]
  for (const value of image.getPixelData()) {
    if (value < low) low = value
    if (value > high) high = value
  }
  const scale = scaleOf(image)
  const [lower, upper] = low > high ? [0, 1] : [scale(low), scale(high)]
  return { lower, upper: upper > lower ? upper : lower + 1 }
}
