/** The tools of a viewport: which button each one is on, and the measurements that they leave behind. */
import { annotation, AngleTool, Enums, LengthTool, PanTool, StackScrollTool, ToolGroupManager, utilities, WindowLevelTool, ZoomTool } from '@cornerstonejs/tools'
import { round } from './readout'
import type { Measurement, Tool } from './state'

// `toolName` is untyped in some of the classes.
const nameOf = (tool: { toolName: unknown }) => String(tool.toolName)
const TOOL_NAMES: Record<Tool, string> = {
  window: nameOf(WindowLevelTool),
  pan: nameOf(PanTool),
  zoom: nameOf(ZoomTool),
  scroll: nameOf(StackScrollTool),
  length: nameOf(LengthTool),
  angle: nameOf(AngleTool),
}

const { MouseBindings } = Enums
const LEFT = { mouseButton: MouseBindings.Primary, numTouchPoints: 1 }
/** What a tool keeps whichever is on the left button: middle drag pans, right drag and two fingers zoom. */
const ALWAYS: Partial<Record<Tool, object[]>> = {
  pan: [{ mouseButton: MouseBindings.Auxiliary }],
  zoom: [{ mouseButton: MouseBindings.Secondary }, { numTouchPoints: 2 }],
}

/** Puts every tool into the group of a stack, and the group upon a viewport of its engine. */
export function addTools(id: string, viewportId: string) {
  const group = ToolGroupManager.getToolGroup(id) ?? ToolGroupManager.createToolGroup(id)
  for (const name of Object.values(TOOL_NAMES)) if (!group?.hasTool(name)) group?.addTool(name)
  group?.addViewport(viewportId, id)
}

export function bindTools(id: string, onLeft: Tool) {
  const group = ToolGroupManager.getToolGroup(id)
  if (!group) return
  for (const tool of Object.keys(TOOL_NAMES) as Tool[]) {
    const bindings = [...(ALWAYS[tool] ?? []), ...(tool === onLeft ? [LEFT] : [])]
    group.setToolPassive(TOOL_NAMES[tool], { removeAllBindings: true })
    if (bindings.length) group.setToolActive(TOOL_NAMES[tool], { bindings })
  }
}

/** What was measured on the images of a stack, whose places are from 0. */
export function measurementsOn(places: ReadonlyMap<string, number>): Measurement[] {
  return annotation.state.getAllAnnotations().flatMap((one): Measurement[] => {
    const { toolName, referencedImageId } = one.metadata ?? {}
    const index = referencedImageId === undefined ? undefined : places.get(referencedImageId)
    if (index === undefined) return []
    const stats = Object.values((one.data.cachedStats ?? {}) as Record<string, { length?: number; angle?: number; unit?: string }>)[0]
    const kind = toolName === TOOL_NAMES.length ? 'Length' : 'Angle'
    const value = kind === 'Length' ? stats?.length : stats?.angle
    if (!one.annotationUID || value === undefined || !Number.isFinite(value)) return []
    const text = `${round(value, 1)}${kind === 'Length' ? ` ${stats?.unit ?? 'px'}` : '°'}`
    return [{ uid: one.annotationUID, kind, text, index }]
  })
}

/** Takes one measurement away; without its id the one that is chosen, else `last`. */
export function removeMeasurement(uid: string | undefined, last: string | undefined, viewportId: string | undefined) {
  const gone = uid ?? annotation.selection.getAnnotationsSelected()[0] ?? last
  if (!gone) return
  annotation.state.removeAnnotation(gone)
  if (viewportId) utilities.triggerAnnotationRenderForViewportIds([viewportId])
}
