/** What each key does in the viewer. */
import type { KeyMap } from '../common/useKeys'
import type { Stack } from './stack'
import type { StackState, Tool } from './state'
import { presetByKey } from './windows'

interface Acts {
  series: (by: number) => void
  help: () => void
  text: () => void
  back: () => void
}

const TOOL_KEYS: Record<string, Tool> = { w: 'window', s: 'scroll', p: 'pan', z: 'zoom', l: 'length', a: 'angle', Escape: 'window' }
const PAN_PX = 40

export function viewerKeys(stack: Stack | null, state: StackState | undefined, acts: Acts): KeyMap {
  const always: KeyMap = { '[': () => acts.series(-1), ']': () => acts.series(1), '?': acts.help, b: acts.back, t: acts.text }
  if (!stack || !state?.count) return always
  const tools = Object.fromEntries(Object.entries(TOOL_KEYS).map(([key, tool]) => [key, () => stack.setTool(tool)]))
  const presets = Object.fromEntries(
    ['1', '2', '3', '4', '5', '6'].map((key) => [
      key,
      () => {
        const preset = presetByKey(state.frame, key)
        if (preset) stack.setWindow(preset.center, preset.width)
      },
    ]),
  )
  return {
    ...always,
    ...tools,
    ...presets,
    ArrowUp: () => stack.step(-1),
    ArrowLeft: () => stack.step(-1),
    ArrowDown: () => stack.step(1),
    ArrowRight: () => stack.step(1),
    PageUp: () => stack.step(-10),
    PageDown: () => stack.step(10),
    Home: () => stack.go(0),
    End: () => stack.go(state.count - 1),
    'Shift+ArrowUp': () => stack.nudgeWindow(1, 0),
    'Shift+ArrowDown': () => stack.nudgeWindow(-1, 0),
    'Shift+ArrowRight': () => stack.nudgeWindow(0, 1),
    'Shift+ArrowLeft': () => stack.nudgeWindow(0, -1),
    'Ctrl+ArrowUp': () => stack.panBy(0, -PAN_PX),
    'Ctrl+ArrowDown': () => stack.panBy(0, PAN_PX),
    'Ctrl+ArrowLeft': () => stack.panBy(-PAN_PX, 0),
    'Ctrl+ArrowRight': () => stack.panBy(PAN_PX, 0),
    '+': () => stack.zoomBy(1.2),
    '=': () => stack.zoomBy(1.2),
    '-': () => stack.zoomBy(1 / 1.2),
    '0': () => stack.fit(),
    i: () => stack.invert(),
    h: () => stack.flip('horizontal'),
    v: () => stack.flip('vertical'),
    '.': () => stack.rotate(90),
    ',': () => stack.rotate(-90),
    r: () => stack.reset(),
    ' ': () => stack.play(!state.playing),
    '>': () => stack.setRate(state.rate + 5),
    '<': () => stack.setRate(state.rate - 5),
    Delete: () => stack.remove(),
    Backspace: () => stack.remove(),
  }
}
