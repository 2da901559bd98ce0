/** The window: the presets of the modality, the file's own, and a center and width typed in. */
import { Button, Kbd, NumberInput, Popover } from '@mantine/core'
import { IconChevronDown } from '@tabler/icons-react'
import { useState } from 'react'
import type { Stack } from './stack'
import type { StackState } from './state'
import classes from './controls.module.css'
import { presetsOf } from './windows'

export function WindowMenu({ stack, state }: { stack: Stack | null; state: StackState | undefined }) {
  const [open, setOpen] = useState(false)
  const center = state?.center ?? null
  const width = state?.width ?? null
  const presets = presetsOf(state?.frame)
  const type = (next: { center?: number; width?: number }) => {
    if (center !== null && width !== null) stack?.setWindow(next.center ?? center, next.width ?? width)
  }
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-start" width={250} withinPortal trapFocus={false}>
      <Popover.Target>
        <Button
          className={classes.windowButton}
          size="compact-md"
          variant="default"
          rightSection={<IconChevronDown size={13} />}
          disabled={!stack || center === null}
          aria-expanded={open}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => setOpen(!open)}
        >
          {center === null || width === null ? 'Window' : `${Math.round(center)} / ${Math.round(width)}`}
        </Button>
      </Popover.Target>
      <Popover.Dropdown p="xs" role="dialog" aria-label="Window">
        <div className={classes.presets}>
          {presets.map((preset, i) => (
            <button
              key={i}
              type="button"
              data-on={preset.center === center && preset.width === width ? true : undefined}
              onClick={() => {
                stack?.setWindow(preset.center, preset.width)
                setOpen(false)
              }}
            >
              <span className="ellipsis">{preset.name}</span>
              <span className="dim">
                {preset.center} / {preset.width}
              </span>
              {preset.key ? <Kbd size="xs">{preset.key}</Kbd> : <span />}
            </button>
          ))}
          {presets.length === 0 && <p className="dim">The file brings no window of its own.</p>}
        </div>
        <div className={classes.typed}>
          <NumberInput size="xs" label="Center" value={center ?? ''} onChange={(value) => typeof value === 'number' && type({ center: value })} />
          <NumberInput size="xs" label="Width" min={1e-6} value={width ?? ''} onChange={(value) => typeof value === 'number' && value > 0 && type({ width: value })} />
        </div>
      </Popover.Dropdown>
    </Popover>
  )
}
