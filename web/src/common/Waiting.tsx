import classes from './common.module.css'
import { count } from './format'

/** How many wait; nothing while nobody has counted or there is none. */
export function Waiting({ total }: { total: number | undefined }) {
  return total ? <span className={classes.waiting}>{count(total)}</span> : null
}
