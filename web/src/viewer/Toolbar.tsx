/** The tools, each with its key; what a finger or a mouse can do here, the keyboard can do too. */
import { ActionIcon, Menu, Tooltip } from '@mantine/core'
import {
  IconAdjustments, IconAngle, IconArrowAutofitHeight, IconArrowsMove, IconContrast, IconFlipHorizontal, IconFlipVertical, IconHelp,
  IconPlayerPause, IconPlayerPlay, IconRefresh, IconRotateClockwise, IconRuler2, IconTrash, IconZoomIn, type Icon,
} from '@tabler/icons-react'
import type { Stack } from './stack'
import type { StackState, Tool } from './state'
import classes from './controls.module.css'
import { WindowMenu } from './WindowMenu'

const TOOLS: { tool: Tool; label: string; key: string; icon: Icon }[] = [
  { tool: 'window', label: 'Window', key: 'W', icon: IconAdjustments },
  { tool: 'scroll', label: 'Scroll', key: 'S', icon: IconArrowAutofitHeight },
  { tool: 'pan', label: 'Pan', key: 'P', icon: IconArrowsMove },
  { tool: 'zoom', label: 'Zoom', key: 'Z', icon: IconZoomIn },
  { tool: 'length', label: 'Length', key: 'L', icon: IconRuler2 },
  { tool: 'angle', label: 'Angle', key: 'A', icon: IconAngle },
]

interface ButtonProps {
  label: string
  stroke: string
  icon: Icon
  on?: boolean
  disabled?: boolean
  onClick: () => void
}

function ToolButton({ label, stroke, icon: Symbol, on, disabled, onClick }: ButtonProps) {
  return (
    <Tooltip label={`${label} · ${stroke}`} openDelay={350} position="bottom">
      <ActionIcon
        className={classes.tool}
        size={34}
        variant={on ? 'filled' : 'subtle'}
        color={on ? undefined : 'gray'}
        aria-label={label}
        aria-pressed={on}
        aria-keyshortcuts={stroke}
        disabled={disabled}
        // A click leaves the focus where it was: Space goes on to mean play.
        onMouseDown={(event) => event.preventDefault()}
        onClick={onClick}
      >
        <Symbol size={19} stroke={1.6} />
      </ActionIcon>
    </Tooltip>
  )
}

export function Toolbar({ stack, state, onHelp }: { stack: Stack | null; state: StackState | undefined; onHelp: () => void }) {
  const off = !stack || !state?.count
  const measurements = state?.measurements ?? []
  return (
    <div className={classes.toolbar} role="toolbar" aria-label="Viewer tools">
      {TOOLS.map(({ tool, label, key, icon }) => (
        <ToolButton key={tool} label={label} stroke={key} icon={icon} on={state?.tool === tool} disabled={off} onClick={() => stack?.setTool(tool)} />
      ))}
      <span className={classes.gap} />
      <WindowMenu stack={stack} state={state} />
      <ToolButton label="Invert" stroke="I" icon={IconContrast} on={state?.inverted ?? false} disabled={off} onClick={() => stack?.invert()} />
      <ToolButton label="Flip left and right" stroke="H" icon={IconFlipVertical} on={state?.flipped[0] ?? false} disabled={off} onClick={() => stack?.flip('horizontal')} />
      <ToolButton label="Flip up and down" stroke="V" icon={IconFlipHorizontal} on={state?.flipped[1] ?? false} disabled={off} onClick={() => stack?.flip('vertical')} />
      <ToolButton label="Rotate" stroke="." icon={IconRotateClockwise} disabled={off} onClick={() => stack?.rotate(90)} />
      <ToolButton label="Reset" stroke="R" icon={IconRefresh} disabled={off} onClick={() => stack?.reset()} />
      <span className={classes.gap} />
      <ToolButton
        label={state?.playing ? 'Pause' : 'Play'}
        stroke="Space"
        icon={state?.playing ? IconPlayerPause : IconPlayerPlay}
        disabled={off || state.count < 2}
        onClick={() => stack?.play(!state?.playing)}
      />
      {measurements.length > 0 && (
        <Menu position="bottom-end" width={220}>
          <Menu.Target>
            <ActionIcon className={classes.tool} size={34} w="auto" px={8} variant="subtle" color="gray" aria-label={`Measurements: ${measurements.length}`}>
              <IconRuler2 size={17} stroke={1.6} />
              <span className={classes.badge}>{measurements.length}</span>
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Label>Kept until the viewer is closed</Menu.Label>
            {measurements.map((one) => (
              <Menu.Item
                key={one.uid}
                rightSection={<span className="dim">image {one.index + 1}</span>}
                leftSection={one.kind === 'Length' ? <IconRuler2 size={15} /> : <IconAngle size={15} />}
                onClick={() => stack?.go(one.index)}
              >
                {one.text}
              </Menu.Item>
            ))}
            <Menu.Divider />
            <Menu.Item leftSection={<IconTrash size={15} />} onClick={() => measurements.forEach(({ uid }) => stack?.remove(uid))}>
              Remove all
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
      <ToolButton label="Keys and mouse" stroke="?" icon={IconHelp} onClick={onHelp} />
    </div>
  )
}
