/** What a stack looks like from outside: plain values, compared and drawn by React. */
import type { Frame } from './frames'

export type Tool = 'window' | 'pan' | 'zoom' | 'scroll' | 'length' | 'angle'

export interface Measurement {
  uid: string
  kind: 'Length' | 'Angle'
  text: string
  index: number
}

export interface StackState {
  phase: 'starting' | 'loading' | 'ready' | 'failed'
  /** The image asked for, from 0; the one on the screen unless `phase` says otherwise. */
  index: number
  count: number
  frame: Frame | undefined
  center: number | null
  width: number | null
  zoom: number
  pan: readonly [number, number]
  rotation: number
  flipped: readonly [boolean, boolean]
  inverted: boolean
  tool: Tool
  playing: boolean
  rate: number
  loaded: ReadonlySet<number>
  failures: ReadonlyMap<number, string>
  measurements: readonly Measurement[]
  /** Letters at the left, right, top and bottom edge. */
  edges: readonly [string, string, string, string]
}

export const EMPTY: StackState = {
  phase: 'starting', index: 0, count: 0, frame: undefined, center: null, width: null, zoom: 1, pan: [0, 0], rotation: 0,
  flipped: [false, false], inverted: false, tool: 'window', playing: false, rate: 15, loaded: new Set(), failures: new Map(),
  measurements: [], edges: ['', '', '', ''],
}
