import { sentence } from '../api/client'
import classes from './settings.module.css'

/** What went wrong, as a sentence; nothing while nothing did. */
export function Failed({ error }: { error: unknown }) {
  if (!error) return null
  return (
    <p role="alert" className={classes.failed}>
      {sentence(error)}
    </p>
  )
}
