/** What stands over the picture: who, what, which image, how it is windowed, and what lies under the pointer. */
import { along } from './frames'
import type { Probe } from './readout'
import type { StackState } from './state'
import classes from './viewport.module.css'

const trim = (value: number, digits = 1) => String(Number(value.toFixed(digits)))

interface Props {
  state: StackState
  probe: Probe | null
  corners: { topLeft: string[]; topRight: string[] }
}

export function Overlays({ state, probe, corners }: Props) {
  const { frame, edges } = state
  const location = frame?.sliceLocation ?? (frame ? along(frame) : undefined)
  const bottomLeft = [
    `Image ${state.index + 1} / ${state.count}`,
    frame && frame.frames > 1 ? `Frame ${frame.number} of instance ${frame.instanceNumber ?? '–'}` : null,
    location === undefined ? null : `Location ${trim(location)} mm`,
    frame?.thickness ? `Thickness ${trim(frame.thickness, 2)} mm` : null,
  ].filter((line) => line !== null)
  const bottomRight = [
    state.center === null || state.width === null ? null : `C ${trim(state.center, 2)}  W ${trim(state.width, 2)}`,
    `Zoom ${trim(state.zoom, 2)}×`,
    frame ? `${frame.columns} × ${frame.rows}` : null,
  ].filter((line) => line !== null)
  const [left, right, top, bottom] = edges
  const corner = (name: string, lines: string[]) => (
    <div className={`${classes.corner} ${name}`}>
      {lines.map((line, i) => (
        <div key={i}>{line}</div>
      ))}
    </div>
  )
  return (
    <div className={classes.overlays} data-testid="overlays">
      {corner(classes.topLeft ?? '', corners.topLeft)}
      {corner(classes.topRight ?? '', corners.topRight)}
      {corner(classes.bottomLeft ?? '', bottomLeft)}
      {corner(classes.bottomRight ?? '', bottomRight)}
      {state.phase === 'ready' && (
        <>
          <span className={`${classes.edge} ${classes.atLeft}`}>{left}</span>
          <span className={`${classes.edge} ${classes.atRight}`}>{right}</span>
          <span className={`${classes.edge} ${classes.atTop}`}>{top}</span>
          <span className={`${classes.edge} ${classes.atBottom}`}>{bottom}</span>
        </>
      )}
      {probe && (
        <div className={classes.probe} data-testid="probe">
          <b>{probe.value}</b>
          <span>
            col {probe.column} row {probe.row}
          </span>
          {probe.position && <span className={classes.wideOnly}>({probe.position.map((value) => trim(value)).join(', ')}) mm</span>}
        </div>
      )}
    </div>
  )
}
