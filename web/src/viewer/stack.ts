/**
 * One viewport and the stack in it: what is shown, how, and what is loaded. React draws what this says and calls what it offers; no DOM
 * but the viewport's element is touched here. An image is on the screen only under its own number: while another one is waited for, or
 * could not be had, the picture before it is hidden.
 */
import {
  cache, type StackViewport, type Types, Enums, eventTarget, imageLoader, RenderingEngine,
} from '@cornerstonejs/core'
import { wadors } from '@cornerstonejs/dicom-image-loader'
import { Enums as ToolEnums, ToolGroupManager } from '@cornerstonejs/tools'
import type { Dataset } from './dicomjson'
import { str } from './dicomjson'
import { cacheBytes, listen, loadFailure, PREFETCH_REQUESTS, startEngine } from './engine'
import { type Frame, stackOf } from './frames'
import { forLoader } from './loader'
import { nextToLoad } from './prefetch'
import { edges, probe, type Probe, round, valueRange } from './readout'
import { EMPTY, type StackState, type Tool } from './state'
import { addTools, bindTools, measurementsOn, removeMeasurement } from './tools'
import { fromRange, toRange } from './windows'

type IImage = Types.IImage
type LoadError = { imageId: string; error: unknown } | { reason?: unknown }[]

const LATE_MS = 60_000

/** Some failures of the loader never come back: after a minute the place of a prefetch is given to another image. */
function late(): Promise<never> {
  return new Promise((_, reject) => setTimeout(() => reject(new Error('it did not arrive within a minute')), LATE_MS))
}

/** What the CPU's viewport draws with; it keeps its window from image to image, but tells that of the newest image's file. */
interface Drawn {
  _cpuFallbackEnabledElement?: { viewport?: { voi?: { windowCenter: number; windowWidth: number } } }
}

/** The properties of a viewport as it is drawn, set right where the viewport tells others. */
function keptProperties(viewport: StackViewport) {
  const properties = viewport.getProperties()
  const voi = (viewport as unknown as Drawn)._cpuFallbackEnabledElement?.viewport?.voi
  if (!voi) return properties
  const drawn = toRange(voi.windowCenter, voi.windowWidth, false)
  const told = properties.voiRange
  if (told && Math.abs(told.lower - drawn.lower) + Math.abs(told.upper - drawn.upper) < 1e-6) return properties
  viewport.setProperties({ voiRange: drawn }, true)
  return { ...properties, voiRange: drawn }
}

let made = 0

export class Stack {
  private state: StackState
  private listeners = new Set<() => void>()
  private readonly id = `hilum-${(made += 1)}`
  private engine: RenderingEngine | undefined
  private viewport: StackViewport | undefined
  private viewports = 0
  private generation = 0
  private dead = false
  private stops: (() => void)[] = []
  private frames: Frame[] = []
  private imageIds: string[] = []
  private places = new Map<string, number>()
  private shown = -1
  private wanted: number | undefined
  private fetching = new Set<number>()
  private imageBytes = 0
  /** The zoom at which the picture fits: 1 when a GPU draws, canvas px a pixel when the CPU does. */
  private fitZoom = 1
  private clock: number | undefined

  constructor(
    private readonly element: HTMLDivElement,
    tool: Tool,
  ) {
    this.state = { ...EMPTY, tool }
  }

  subscribe = (listener: () => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  get = () => this.state

  private set(change: Partial<StackState>) {
    if (this.dead) return
    this.state = { ...this.state, ...change }
    this.listeners.forEach((listener) => listener())
  }

  /** Shows a series. `root` is the DICOMweb URL of the series; `start` an image from 0, or a SOP Instance UID. */
  async open(datasets: readonly Dataset[], root: string, start: number | string): Promise<void> {
    const generation = (this.generation += 1)
    this.play(false)
    const frames = stackOf(datasets)
    await startEngine()
    // Mounted twice (StrictMode), or another series was asked for meanwhile: this one is no longer wanted.
    if (this.dead || generation !== this.generation) return
    this.frames = frames
    this.imageIds = frames.map((frame) => `wadors:${root}/instances/${frame.sop}/frames/${frame.number}`)
    this.places = new Map(this.imageIds.map((imageId, index) => [imageId, index]))
    const bySop = new Map(datasets.map((dataset) => [str(dataset, '00080018'), dataset]))
    frames.forEach((frame, index) => {
      const dataset = bySop.get(frame.sop)
      const imageId = this.imageIds[index]
      // The loader finds later frames of an instance through its first one. It writes into what it is given: hence the copy.
      if (dataset && imageId && frame.number === 1) wadors.metaDataManager.add(imageId, forLoader(dataset) as never)
    })
    const index = typeof start === 'string' ? Math.max(0, frames.findIndex((frame) => frame.sop === start)) : start
    const first = Math.max(0, Math.min(frames.length - 1, index))
    this.mount()
    this.shown = -1
    this.fetching.clear()
    this.set({
      ...EMPTY,
      phase: 'loading',
      tool: this.state.tool,
      index: first,
      count: frames.length,
      frame: frames[first],
      rate: Math.min(60, Math.max(1, Math.round(frames[first]?.rate ?? 15))),
      loaded: new Set(this.imageIds.flatMap((imageId, i) => (cache.isLoaded(imageId) ? [i] : []))),
    })
    await this.viewport?.setStack(this.imageIds, first)
    if (generation !== this.generation) return
    this.fitZoom = this.viewport?.getZoom() ?? 1
    this.sync()
    this.prefetch()
  }

  /** A fresh viewport for each series: windows, cameras and measurements of the one before do not leak into it. */
  private mount() {
    this.unmountViewport()
    this.engine ??= new RenderingEngine(this.id)
    const viewportId = `${this.id}-${(this.viewports += 1)}`
    this.engine.enableElement({ viewportId, type: Enums.ViewportType.STACK, element: this.element, defaultOptions: { background: [0, 0, 0] } })
    this.viewport = this.engine.getViewport<StackViewport>(viewportId)
    addTools(this.id, viewportId)
    bindTools(this.id, this.state.tool)
    const { Events } = Enums
    const mine = (imageId: string) => this.places.get(imageId)
    const { ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED } = ToolEnums.Events
    const detail = <T>(heard: (detail: T) => void) => (event: CustomEvent<T>) => heard(event.detail)
    this.stops = [
      listen(this.element, Events.STACK_NEW_IMAGE, detail<{ imageId: string; image: IImage }>(({ imageId, image }) => this.onShown(mine(imageId), image))),
      listen(this.element, Events.IMAGE_RENDERED, () => this.sync()),
      listen(this.element, Events.CAMERA_MODIFIED, () => this.sync()),
      listen(this.element, Events.VOI_MODIFIED, () => this.sync()),
      listen(eventTarget, Events.IMAGE_LOAD_ERROR, detail<LoadError>((error) => this.onLoadError(error))),
      listen(window, 'unhandledrejection', (event) => this.onLostError(event)),
      listen(eventTarget, Events.IMAGE_CACHE_IMAGE_ADDED, detail<{ image: { imageId: string; sizeInBytes: number } }>(({ image }) => {
        this.imageBytes = image.sizeInBytes
        this.onLoaded(mine(image.imageId))
      })),
      listen(eventTarget, Events.IMAGE_CACHE_IMAGE_REMOVED, detail<{ imageId: string }>(({ imageId }) => this.onForgotten(mine(imageId)))),
      ...[ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED].map((name) => listen(eventTarget, name, () => this.measure())),
    ]
  }

  private unmountViewport() {
    this.stops.forEach((stop) => stop())
    this.stops = []
    if (!this.viewport) return
    ToolGroupManager.getToolGroup(this.id)?.removeViewports(this.id, this.viewport.id)
    this.engine?.disableElement(this.viewport.id)
    this.viewport = undefined
  }

  destroy() {
    this.play(false)
    this.unmountViewport()
    this.dead = true
    this.generation += 1
    ToolGroupManager.destroyToolGroup(this.id)
    this.engine?.destroy()
    this.listeners.clear()
  }

  resize() {
    const { viewport } = this
    if (!viewport) return
    const zoom = this.state.zoom
    this.engine?.resize(true, true)
    if (this.shown >= 0) this.fitZoom = viewport.getZoom() / zoom
  }

  // What arrives

  private onShown(index: number | undefined, image: IImage) {
    if (index === undefined) return
    const firstOne = this.shown < 0
    this.shown = index
    if (firstOne) {
      this.fitZoom = this.viewport?.getZoom() ?? 1
      this.windowByValues(image)
    }
    if (this.state.failures.has(index)) {
      const failures = new Map(this.state.failures)
      failures.delete(index)
      this.set({ failures })
    }
    // Scrolling by a tool moves the stack by itself; what is shown is then what is wanted.
    if (this.wanted === undefined) this.set({ index, frame: this.frames[index] })
    if (index === this.state.index) this.set({ phase: 'ready' })
  }

  private onFailed(index: number | undefined, error: unknown) {
    if (index === undefined) return
    const failures = new Map(this.state.failures).set(index, loadFailure(error))
    this.set({ failures, ...(index === this.state.index ? { phase: 'failed' as const } : {}) })
  }

  /** One image that could not be had, or a list of those that could not be drawn, which says not which: it is the one asked for. */
  private onLoadError(detail: LoadError) {
    if (Array.isArray(detail)) this.onFailed(this.state.index, detail[0]?.reason)
    else this.onFailed(this.places.get(detail.imageId), detail.error)
  }

  /** The loader loses some of its errors on the way: they reach only the window, and the image would be waited for for ever. */
  private onLostError(event: Event) {
    if (this.state.phase === 'loading') this.onFailed(this.state.index, (event as PromiseRejectionEvent).reason)
  }

  private onLoaded(index: number | undefined) {
    if (index !== undefined) this.set({ loaded: new Set(this.state.loaded).add(index) })
  }

  private onForgotten(index: number | undefined) {
    if (index === undefined || !this.state.loaded.has(index)) return
    const loaded = new Set(this.state.loaded)
    loaded.delete(index)
    this.set({ loaded })
  }

  /** Reads how the viewport stands: the tools change it behind our back. */
  private sync() {
    const { viewport } = this
    if (!viewport || this.dead || this.shown < 0) return
    const { voiRange, invert } = keptProperties(viewport)
    const window = voiRange ? fromRange(voiRange.lower, voiRange.upper, this.exact) : null
    const pan = viewport.getPan()
    const change: Partial<StackState> = {
      center: window && round(window.center),
      width: window && round(window.width),
      zoom: round(viewport.getZoom() / this.fitZoom, 3),
      pan: [round(pan[0], 1), round(pan[1], 1)],
      inverted: invert ?? false,
      edges: edges(viewport, this.element, this.frames[this.shown]),
    }
    const same = (Object.keys(change) as (keyof StackState)[]).every((key) => JSON.stringify(change[key]) === JSON.stringify(this.state[key]))
    if (!same) this.set(change)
  }

  // Going through the stack

  go(index: number) {
    if (!this.imageIds.length) return
    const next = Math.max(0, Math.min(this.imageIds.length - 1, index))
    if (next === this.state.index) return
    const failed = this.state.failures.has(next)
    this.set({ index: next, frame: this.frames[next], phase: failed ? 'failed' : next === this.shown ? 'ready' : 'loading' })
    // A fast scroll asks for many images in one frame of the screen: only the last is fetched.
    if (this.wanted === undefined)
      requestAnimationFrame(() => {
        const target = this.wanted
        this.wanted = undefined
        if (target === undefined || this.dead) return
        void this.viewport?.setImageIdIndex(target).then(() => {
          if (this.shown === this.state.index && !this.state.failures.has(this.shown)) this.set({ phase: 'ready' })
          this.prefetch()
        })
      })
    this.wanted = next
  }

  step(by: number) {
    this.go(this.state.index + by)
  }

  /** Another try at the image that could not be shown. */
  retry() {
    const index = this.state.index
    const imageId = this.imageIds[index]
    if (!imageId || !this.viewport) return
    const failures = new Map(this.state.failures)
    failures.delete(index)
    this.set({ failures, phase: 'loading' })
    if (cache.getImageLoadObject(imageId)) cache.removeImageLoadObject(imageId)
    const { viewport } = this
    // The viewport believes that it is there already: it has to be asked anew.
    void viewport.setStack(this.imageIds, index).then(() => this.prefetch())
  }

  play(on: boolean) {
    if (this.clock !== undefined) {
      window.clearInterval(this.clock)
      this.clock = undefined
    }
    const playing = on && this.state.count > 1
    if (playing)
      this.clock = window.setInterval(() => {
        // An image that is still on its way is waited for, not skipped.
        if (this.state.phase !== 'loading') this.go((this.state.index + 1) % this.state.count)
      }, 1000 / this.state.rate)
    if (playing !== this.state.playing) this.set({ playing })
  }

  setRate(rate: number) {
    this.set({ rate: Math.min(60, Math.max(1, rate)) })
    if (this.state.playing) this.play(true)
  }

  private prefetch() {
    if (this.dead) return
    const room = this.imageBytes ? Math.max(1, Math.floor((0.8 * cacheBytes()) / this.imageBytes)) : 1
    const { count, index } = this.state
    const settled = (i: number) => this.state.loaded.has(i) || this.fetching.has(i) || this.state.failures.has(i)
    while (this.fetching.size < PREFETCH_REQUESTS) {
      const next = nextToLoad(count, index, settled, room)
      const imageId = next === undefined ? undefined : this.imageIds[next]
      if (next === undefined || !imageId) return
      this.fetching.add(next)
      const generation = this.generation
      const done = () => {
        if (generation !== this.generation) return
        this.fetching.delete(next)
        this.prefetch()
      }
      const load = imageLoader.loadAndCacheImage(imageId, {
        requestType: Enums.RequestType.Prefetch, priority: 0, additionalDetails: { imageId },
      })
      void Promise.race([load, late()]).then(done, (error: unknown) => {
        if (generation === this.generation) this.onFailed(next, error)
        done()
      })
    }
  }

  // How it is shown

  /** Where the file brings no window, the range of its values is one. */
  private windowByValues(image: IImage | undefined) {
    if (!image || image.color || this.frames[this.shown]?.windows.length) return
    this.viewport?.setProperties({ voiRange: valueRange(image) })
    this.viewport?.render()
  }

  private get exact() {
    return this.frames[this.shown]?.exact ?? false
  }

  setWindow(center: number, width: number) {
    this.viewport?.setProperties({ voiRange: toRange(center, Math.max(1e-6, width), this.exact) })
    this.viewport?.render()
  }

  /** Moves center and width by parts of the width, so that a step is felt alike on CT and PET. */
  nudgeWindow(center: number, width: number) {
    const { center: c, width: w } = this.state
    if (c === null || w === null) return
    const unit = Math.max(w / 20, w > 2 ? 1 : w / 20)
    this.setWindow(c + center * unit, Math.max(unit, w + width * unit))
  }

  invert() {
    this.viewport?.setProperties({ invert: !this.state.inverted })
    this.viewport?.render()
  }

  zoomBy(factor: number) {
    const { viewport } = this
    if (!viewport) return
    viewport.setZoom(this.fitZoom * Math.min(50, Math.max(0.05, this.state.zoom * factor)))
    viewport.render()
  }

  panBy(dx: number, dy: number) {
    const { viewport } = this
    if (!viewport) return
    const [x, y] = viewport.getPan()
    viewport.setPan([x + dx, y + dy])
    viewport.render()
  }

  rotate(by: number) {
    const { viewport } = this
    if (!viewport) return
    // Kept here: what the viewport tells of its rotation is mixed with its flips.
    const rotation = (this.state.rotation + by + 360) % 360
    viewport.setViewPresentation({ rotation })
    this.set({ rotation })
    viewport.render()
  }

  flip(axis: 'horizontal' | 'vertical') {
    const { viewport } = this
    if (!viewport) return
    // Kept here, as the rotation is: the CPU's viewport does not tell.
    const [horizontal, vertical] = this.state.flipped
    const flipped = axis === 'horizontal' ? ([!horizontal, vertical] as const) : ([horizontal, !vertical] as const)
    viewport.setCamera({ flipHorizontal: flipped[0], flipVertical: flipped[1] })
    this.set({ flipped })
    viewport.render()
  }

  fit() {
    this.viewport?.setZoom(this.fitZoom)
    this.viewport?.setPan([0, 0])
    this.viewport?.render()
  }

  /** Window, zoom, pan, rotation, flip and invert as the file has them. */
  reset() {
    const { viewport } = this
    if (!viewport) return
    viewport.setViewPresentation({ rotation: 0 })
    viewport.setCamera({ flipHorizontal: false, flipVertical: false })
    viewport.resetCamera({ resetPan: true, resetZoom: true, resetToCenter: true })
    viewport.resetProperties()
    this.set({ rotation: 0, flipped: [false, false] })
    this.fitZoom = viewport.getZoom()
    this.windowByValues(viewport.getCornerstoneImage())
    viewport.render()
    this.sync()
  }

  // Tools and what they leave behind

  setTool(tool: Tool) {
    this.set({ tool })
    bindTools(this.id, tool)
  }

  private measure() {
    const measurements = measurementsOn(this.places)
    if (JSON.stringify(measurements) !== JSON.stringify(this.state.measurements)) this.set({ measurements })
  }

  /** Takes one measurement away; without its id the one that is chosen, else the last that was made. */
  remove(uid?: string) {
    removeMeasurement(uid, this.state.measurements.at(-1)?.uid, this.viewport?.id)
    this.measure()
  }

  /** What lies under a point of the viewport (CSS px from its left top). */
  probe(x: number, y: number): Probe | null {
    const frame = this.frames[this.shown]
    return this.viewport && frame && this.state.phase === 'ready' ? probe(this.viewport, frame, x, y) : null
  }
}
