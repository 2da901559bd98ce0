/** Playing a cine: start, stop, how fast. */
import { ActionIcon, Slider } from '@mantine/core'
import { IconPlayerPause, IconPlayerPlay } from '@tabler/icons-react'
import type { Stack } from './stack'
import type { StackState } from './state'
import classes from './controls.module.css'

export function CineBar({ stack, state }: { stack: Stack; state: StackState }) {
  return (
    <div className={classes.cine} data-testid="cine">
      <ActionIcon
        size={30}
        variant="default"
        aria-label={state.playing ? 'Pause the cine' : 'Play the cine'}
        onMouseDown={(event) => event.preventDefault()}
        onClick={() => stack.play(!state.playing)}
      >
        {state.playing ? <IconPlayerPause size={16} /> : <IconPlayerPlay size={16} />}
      </ActionIcon>
      <Slider
        className={classes.rate}
        size="sm"
        min={1}
        max={60}
        label={null}
        thumbLabel="Frames a second"
        value={state.rate}
        onChange={(rate) => stack.setRate(rate)}
      />
      <span className={classes.rateText}>{state.rate} / s</span>
    </div>
  )
}
