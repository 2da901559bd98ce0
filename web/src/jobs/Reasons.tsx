/** Why something was left out: the count, the sentence, and some names on demand. */
import type { Job } from '../api/types'
import { count } from '../common/format'
import classes from './jobs.module.css'

export function Reasons({ reasons }: { reasons: Job['reasons'] }) {
  return (
    <ul className={classes.reasons}>
      {reasons.map((reason) => (
        <li key={reason.code}>
          <span className={classes.reasonCount}>{count(reason.count)}</span>
          {reason.examples.length ? (
            <details>
              <summary>{reason.reason}</summary>
              <ul className={classes.examples}>
                {reason.examples.map((example) => (
                  <li key={example}>{example}</li>
                ))}
              </ul>
            </details>
          ) : (
            <span>{reason.reason}</span>
          )}
        </li>
      ))}
    </ul>
  )
}
