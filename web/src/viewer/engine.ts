/** Cornerstone3D, started once for the page: loader with its workers, tools, and the cap of the image cache. */
import { cache, eventTarget, imageLoadPoolManager, imageRetrievalPoolManager, init as initCore, Enums, getConfiguration, imageLoader, metaData, type Types } from '@cornerstonejs/core'
import { init as initLoader, wadors } from '@cornerstonejs/dicom-image-loader'
import {
  addTool, AngleTool, annotation, init as initTools, LengthTool, PanTool, StackScrollTool, WindowLevelTool, ZoomTool,
} from '@cornerstonejs/tools'

const MIB = 1024 * 1024

/** Requests that prefetching may have open: a browser has six to a server, so that one that a person waits for always finds a free one. */
export const PREFETCH_REQUESTS = 4

/** Bytes of decoded pixels that may be held: less where the device says that it is small. */
export function cacheBytes(): number {
  const memory = 'deviceMemory' in navigator && typeof navigator.deviceMemory === 'number' ? navigator.deviceMemory : 4
  return (memory >= 8 ? 1024 : memory >= 4 ? 640 : 320) * MIB
}

/** A frame that cannot be decoded may come back as an image without size or with too few pixels: that is no image. */
function checked(image: Types.IImage): Types.IImage {
  const { rows, columns } = (metaData.get('imagePixelModule', image.imageId) ?? {}) as { rows?: number; columns?: number }
  if (!rows || !columns || image.rows !== rows || image.columns !== columns) throw new Error('the decoder gave no picture of the right size')
  const pixels = image.getPixelData().length
  if (pixels < rows * columns) throw new Error(`the decoder gave ${pixels} of ${rows * columns} pixels`)
  return image
}

const loadChecked: Types.ImageLoaderFn = (imageId, options) => {
  const { promise } = wadors.loadImage(imageId, options)
  return { promise: promise.then(checked), cancelFn: undefined }
}

let started: Promise<void> | undefined

export function startEngine(): Promise<void> {
  started ??= Promise.resolve().then(() => {
    // One WebGL context: there is one viewport, and software renderers pay for each.
    const defaults = getConfiguration()
    initCore({ ...defaults, rendering: { ...defaults.rendering, webGlContextCount: 1 } })
    cache.setMaxCacheSize(cacheBytes())
    imageRetrievalPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, PREFETCH_REQUESTS)
    imageLoadPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, PREFETCH_REQUESTS)
    // The legacy provider reads DICOM JSON as it is; the newer one decodes some pixel types wrongly without an error.
    initLoader({
      useLegacyMetadataProvider: true,
      maxWebWorkers: Math.max(1, Math.min(4, Math.floor((navigator.hardwareConcurrency || 2) / 2))),
    })
    imageLoader.registerImageLoader('wadors', loadChecked)
    initTools()
    for (const tool of [WindowLevelTool, PanTool, ZoomTool, StackScrollTool, LengthTool, AngleTool]) addTool(tool)
    const styles = annotation.config.style.getDefaultToolStyles()
    annotation.config.style.setDefaultToolStyles({
      ...styles,
      global: {
        ...styles.global,
        color: '#7fe0d6',
        colorHighlighted: '#ffffff',
        colorSelected: '#ffd479',
        textBoxColor: '#7fe0d6',
        textBoxColorHighlighted: '#ffffff',
        textBoxColorSelected: '#ffd479',
        textBoxFontFamily: 'Inter Variable, system-ui, sans-serif',
        textBoxFontSize: '13px',
        textBoxBackground: 'rgba(0, 0, 0, 0.6)',
        lineWidth: '1.5',
      },
    })
  })
  return started
}

/** Listens to one of Cornerstone's events, wherever it is fired; returns the way to stop. */
export function listen(target: EventTarget | typeof eventTarget, name: string, heard: (event: CustomEvent) => void): () => void {
  const listener = (event: Event) => heard(event as CustomEvent)
  target.addEventListener(name, listener)
  return () => target.removeEventListener(name, listener)
}

/** What could not be shown, as a sentence. A refused request carries the server's own words in its body. */
export function loadFailure(error: unknown): string {
  const inner = typeof error === 'object' && error !== null && 'error' in error ? error.error : error
  if (inner instanceof XMLHttpRequest) {
    if (!inner.status) return 'The server did not answer.'
    try {
      const body: unknown = JSON.parse(new TextDecoder().decode(inner.response as ArrayBuffer))
      if (typeof body === 'object' && body !== null && 'detail' in body && typeof body.detail === 'string') return body.detail
    } catch {
      // No problem document: only the status is known.
    }
    return `The server answered ${inner.status}.`
  }
  const message = inner instanceof Error ? inner.message : typeof inner === 'string' ? inner : ''
  return message ? `It could not be decoded (${message.replace(/\.$/, '')}).` : 'It could not be decoded.'
}
