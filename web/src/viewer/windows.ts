/** Windows to choose from: the usual ones on CT, and whatever the file brings. Center and width as DICOM has them. */
import type { Frame, Window } from './frames'

export interface Preset extends Window {
  key: string
}

export const CT_PRESETS: readonly Preset[] = [
  { key: '1', name: 'Soft tissue', center: 40, width: 400 },
  { key: '2', name: 'Lung', center: -600, width: 1500 },
  { key: '3', name: 'Bone', center: 480, width: 2500 },
  { key: '4', name: 'Brain', center: 40, width: 80 },
  { key: '5', name: 'Mediastinum', center: 50, width: 350 },
]

/** The presets of what is shown. On anything but CT the numbers 1 to 5 choose among the file's own windows; 6 is always the file's first. */
export function presetsOf(frame: Frame | undefined): Preset[] {
  if (!frame) return []
  if (frame.modality === 'CT')
    return [...CT_PRESETS, ...frame.windows.map((window, i) => ({ ...window, key: i === 0 ? '6' : '' }))]
  return frame.windows.map((window, i) => ({ ...window, key: i < 5 ? String(i + 1) : '' }))
}

export function presetByKey(frame: Frame | undefined, key: string): Preset | undefined {
  const presets = presetsOf(frame)
  return presets.find((preset) => preset.key === key) ?? (key === '6' ? presets.find((preset) => preset.key === '1') : undefined)
}

/** The range of values that a window shows (PS3.3 C.11.2.1.2): 40/400 is −160 to 239, but −160 to 240 when it is LINEAR_EXACT. */
export function toRange(center: number, width: number, exact: boolean): { lower: number; upper: number } {
  return { lower: center - width / 2, upper: center - (exact ? 0 : 1) + width / 2 }
}

export function fromRange(lower: number, upper: number, exact: boolean): { center: number; width: number } {
  const step = exact ? 0 : 1
  return { center: (lower + upper + step) / 2, width: upper - lower + step }
}
