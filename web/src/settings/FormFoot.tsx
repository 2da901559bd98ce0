/** What ends a form in a dialog: what went wrong, and the ways out. */
import { Button } from '@mantine/core'
import { Failed } from '../common/Failed'
import classes from './settings.module.css'

interface Props {
  error: unknown
  busy: boolean
  /** What the form does: `Save`, `Add`. */
  label: string
  onClose: () => void
}

export function FormFoot({ error, busy, label, onClose }: Props) {
  return (
    <>
      <Failed error={error} />
      <div className={classes.buttons}>
        <Button variant="default" onClick={onClose}>
          Cancel
        </Button>
        <Button type="submit" loading={busy}>
          {label}
        </Button>
      </div>
    </>
  )
}
