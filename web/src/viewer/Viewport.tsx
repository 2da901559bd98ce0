/** The element that Cornerstone draws into, with what the mouse does beyond its tools, and the state of the stack as `data-` attributes. */
import { Loader } from '@mantine/core'
import { Button } from '@mantine/core'
import { IconPhotoOff } from '@tabler/icons-react'
import { useEffect, useRef, useState, useSyncExternalStore } from 'react'
import { plural } from '../common/format'
import { Overlays } from './Overlays'
import type { Probe } from './readout'
import type { StackState, Tool } from './state'
import { Stack } from './stack'
import { Strip } from './Strip'
import classes from './viewport.module.css'

const NOTHING: StackState | undefined = undefined

/** The stack of this page, made with its element and gone with it. */
export function useStack(tool: Tool) {
  const element = useRef<HTMLDivElement>(null)
  const [stack, setStack] = useState<Stack | null>(null)
  const initialTool = useRef(tool)
  useEffect(() => {
    if (!element.current) return
    const made = new Stack(element.current, initialTool.current)
    const observer = new ResizeObserver(() => made.resize())
    observer.observe(element.current)
    setStack(made)
    return () => {
      observer.disconnect()
      made.destroy()
      setStack(null)
    }
  }, [])
  const state = useSyncExternalStore(
    (listener) => stack?.subscribe(listener) ?? (() => undefined),
    () => stack?.get() ?? NOTHING,
  )
  return { element, stack, state }
}

interface Props {
  element: React.RefObject<HTMLDivElement | null>
  stack: Stack | null
  state: StackState | undefined
  title: string
  seriesUid: string
  corners: { topLeft: string[]; topRight: string[] }
}

/** `CT, Chest 1.5 mm, image 8 of 50, window 40 / 400`, for who hears the page. */
function label(title: string, state: StackState | undefined): string {
  if (!state?.count) return `${title}, loading`
  const window = state.center === null || state.width === null ? '' : `, window ${state.center} / ${state.width}`
  return `${title}, image ${state.index + 1} of ${state.count}${window}`
}

export function Viewport({ element, stack, state, title, seriesUid, corners }: Props) {
  const [probe, setProbe] = useState<Probe | null>(null)
  const pointer = useRef<[number, number] | null>(null)
  const stage = useRef<HTMLDivElement>(null)

  // The wheel is ours, not a tool's: it must keep the page from scrolling or zooming, which needs a listener that is not passive.
  useEffect(() => {
    const node = stage.current
    if (!node || !stack) return
    let rest = 0
    const wheel = (event: WheelEvent) => {
      event.preventDefault()
      if (event.ctrlKey || event.metaKey) {
        stack.zoomBy(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 400))
        return
      }
      // A notch of a wheel is one image; a touchpad's many small moves add up to notches.
      const notch = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 50 : 1
      rest += event.deltaY
      if (Math.abs(event.deltaY) >= notch) rest = Math.sign(event.deltaY) * notch
      if (Math.abs(rest) >= notch) {
        stack.step(Math.sign(rest))
        rest = 0
      }
    }
    node.addEventListener('wheel', wheel, { passive: false })
    return () => node.removeEventListener('wheel', wheel)
  }, [stack])

  // What lies under the pointer changes when the pointer moves and when the picture does.
  const shown = state?.phase === 'ready' ? state.index : -1
  useEffect(() => {
    const at = pointer.current
    const timer = window.setTimeout(() => setProbe(at && stack ? stack.probe(...at) : null), 0)
    return () => window.clearTimeout(timer)
  }, [stack, shown, state?.zoom, state?.pan])

  const failure = state?.phase === 'failed' ? state.failures.get(state.index) : undefined
  const measured = state?.measurements.map(({ text }) => text).join('; ')
  return (
    <div className={classes.stage} ref={stage}>
      <div
        ref={element}
        className={classes.viewport}
        data-testid="viewport"
        role="img"
        aria-label={label(title, state)}
        data-state={state?.phase ?? 'starting'}
        data-series={seriesUid}
        data-index={state?.count ? state.index + 1 : undefined}
        data-count={state?.count}
        data-wc={state?.center ?? undefined}
        data-ww={state?.width ?? undefined}
        data-zoom={state?.zoom}
        data-pan={state?.pan.join(',')}
        data-rotation={state?.rotation}
        data-flip={state ? `${state.flipped[0] ? 'h' : ''}${state.flipped[1] ? 'v' : ''}` : undefined}
        data-invert={state?.inverted}
        data-tool={state?.tool}
        data-playing={state?.playing}
        data-loaded={state?.loaded.size}
        data-failed={state?.failures.size}
        data-measurements={measured}
        data-probe={probe?.value}
        onContextMenu={(event) => event.preventDefault()}
        onMouseDown={(event) => event.button === 1 && event.preventDefault()}
        onPointerMove={(event) => {
          const box = event.currentTarget.getBoundingClientRect()
          pointer.current = [event.clientX - box.left, event.clientY - box.top]
          setProbe(stack?.probe(...pointer.current) ?? null)
        }}
        onPointerLeave={() => {
          pointer.current = null
          setProbe(null)
        }}
      />
      {state && <Overlays state={state} probe={probe} corners={corners} />}
      {(!state || state.phase === 'loading' || state.phase === 'starting') && (
        <div className={classes.waiting}>
          <Loader size="sm" color="gray" aria-label="Loading the image" />
        </div>
      )}
      {failure && state && (
        <div className={classes.failure} role="alert">
          <IconPhotoOff size={34} stroke={1.4} />
          <strong>
            Image {state.index + 1} of {plural(state.count, 'image')} cannot be shown
          </strong>
          <p>{failure}</p>
          <Button size="compact-sm" variant="default" onClick={() => stack?.retry()}>
            Try again
          </Button>
        </div>
      )}
      {state && stack && state.count > 1 && <Strip state={state} onGo={(index) => stack.go(index)} />}
    </div>
  )
}
