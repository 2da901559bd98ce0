/** What forwarding gave up, rule by rule. */
import { Button } from '@mantine/core'
import { IconRotate } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { api, queryClient } from '../api/client'
import type { Rule } from '../api/types'
import { Failed } from '../common/Failed'
import { plural } from '../common/format'
import classes from '../settings/settings.module.css'

function Line({ rule }: { rule: Rule }) {
  const replay = api.useMutation('post', '/api/v1/imaging/rules/{rule}/queue/replay')
  const params = { path: { rule: rule.id } }
  const letters = plural(rule.counts.dead, 'dead letter')
  return (
    <li className={classes.row} data-testid="forwarded">
      <div className={classes.about}>
        <strong>{rule.name}</strong>
        <Link to="/settings" search={{ section: 'forwarding', rule: String(rule.id), state: 'dead' }} className={classes.given}>
          {letters}
        </Link>
        <Failed error={replay.error} />
      </div>
      <div className={classes.acts}>
        <Button
          size="compact-sm"
          leftSection={<IconRotate size={14} />}
          loading={replay.isPending}
          onClick={() => replay.mutate({ params }, { onSuccess: () => void queryClient.invalidateQueries() })}
        >
          Send {letters} again
        </Button>
      </div>
    </li>
  )
}

export function Forwarded({ rules }: { rules: Rule[] }) {
  const failed = rules.filter((rule) => rule.counts.dead > 0)
  return (
    <section aria-labelledby="forwarded" className={classes.section}>
      <header>
        <h2 id="forwarded">Forwarding</h2>
      </header>
      {!failed.length && <p className={classes.none}>Nothing that a rule sends was given up.</p>}
      <ul className={classes.list}>
        {failed.map((rule) => (
          <Line key={rule.id} rule={rule} />
        ))}
      </ul>
    </section>
  )
}
