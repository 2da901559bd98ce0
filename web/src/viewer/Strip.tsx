/** The stack at a glance, and the way through it: what is loaded, where one is, drag or press to go. */
import { useRef } from 'react'
import { ranges } from './prefetch'
import type { StackState } from './state'
import classes from './viewport.module.css'

export function Strip({ state, onGo }: { state: StackState; onGo: (index: number) => void }) {
  const track = useRef<HTMLDivElement>(null)
  const { count, index, loaded, failures } = state
  const part = (n: number) => `${(100 * n) / count}%`
  const take = (clientY: number) => {
    const box = track.current?.getBoundingClientRect()
    if (box) onGo(Math.floor(((clientY - box.top) / box.height) * count))
  }
  return (
    <div
      ref={track}
      className={classes.strip}
      role="slider"
      tabIndex={0}
      aria-label="Image of the stack"
      aria-orientation="vertical"
      aria-valuemin={1}
      aria-valuemax={count}
      aria-valuenow={index + 1}
      aria-valuetext={`Image ${index + 1} of ${count}, ${loaded.size} loaded`}
      data-testid="strip"
      data-page-keys
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId)
        take(event.clientY)
      }}
      onPointerMove={(event) => event.currentTarget.hasPointerCapture(event.pointerId) && take(event.clientY)}
    >
      <div className={classes.rail}>
        {ranges(loaded).map(([from, to]) => (
          <i key={from} className={classes.loaded} style={{ top: part(from), height: part(to - from) }} />
        ))}
        {[...failures.keys()].map((at) => (
          <i key={at} className={classes.lost} style={{ top: part(at), height: `max(2px, ${part(1)})` }} />
        ))}
      </div>
      <i className={classes.thumbMark} style={{ top: part(index), height: `max(10px, ${part(1)})` }} />
    </div>
  )
}
