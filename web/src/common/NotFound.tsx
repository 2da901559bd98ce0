import { Link } from '@tanstack/react-router'
import classes from './common.module.css'

export function NotFound() {
  return (
    <div className={classes.empty}>
      <h1>There is no such page</h1>
      <p>
        The address may be old or mistyped. <Link to="/imaging" search={{}}>Go to the study list</Link>.
      </p>
    </div>
  )
}
