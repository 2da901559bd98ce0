/** A line at the foot of the window that says what was just done, with its way back. */
import { Button, CloseButton } from '@mantine/core'
import type { ReactNode } from 'react'
import classes from './common.module.css'

interface Props {
  label: string
  busy: boolean
  onUndo: () => void
  onDismiss: () => void
  children: ReactNode
}

export function Toast({ label, busy, onUndo, onDismiss, children }: Props) {
  return (
    <section className={classes.toast} aria-label={label} data-testid="toast">
      <span role="status">{children}</span>
      <Button size="compact-sm" variant="default" onClick={onUndo} loading={busy}>
        Undo
      </Button>
      <CloseButton size="sm" aria-label="Dismiss" onClick={onDismiss} />
    </section>
  )
}
