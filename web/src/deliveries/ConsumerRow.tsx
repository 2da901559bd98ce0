/** One who is told of events: how far that is, and its deliveries when it is open. */
import { Button } from '@mantine/core'
import { IconChevronDown, IconChevronRight, IconRotate } from '@tabler/icons-react'
import { api, queryClient } from '../api/client'
import type { Consumer, Webhook } from '../api/types'
import { Failed } from '../common/Failed'
import { plural } from '../common/format'
import type { SettingsSearch } from '../settings/search'
import classes from '../settings/settings.module.css'
import { Letters } from './Letters'
import { fares, figures, nameOf } from './text'

interface Props {
  consumer: Consumer
  hooks: Webhook[]
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
}

export function ConsumerRow({ consumer, hooks, search, onChange }: Props) {
  const { name, dead } = consumer
  const replay = api.useMutation('post', '/api/v1/imaging/deliveries/replay')
  const open = search.consumer === name
  const paused = hooks.some((hook) => `webhook:${String(hook.id)}` === name && !hook.active)
  const { mood, sentence: state } = fares(consumer, paused)
  return (
    <li data-testid="consumer" data-consumer={name}>
      <div className={classes.row}>
        <div className={classes.about}>
          <strong>{nameOf(name, hooks)}</strong>
          <span className={classes.mood} data-mood={mood}>
            {state}
          </span>
          <button
            type="button"
            className={classes.figures}
            aria-expanded={open}
            onClick={() => onChange({ consumer: open ? undefined : name, delivery: undefined, page: undefined })}
          >
            {open ? <IconChevronDown size={15} /> : <IconChevronRight size={15} />}
            {figures(consumer).map(([figure, unit]) => (
              <span key={unit} data-unit={unit}>
                <b>{figure}</b> {unit}
              </span>
            ))}
            {!figures(consumer).length && <span>Deliveries</span>}
          </button>
          <Failed error={replay.error} />
        </div>
        <div className={classes.acts}>
          {dead > 0 && (
            <Button
              size="compact-sm"
              leftSection={<IconRotate size={14} />}
              loading={replay.isPending}
              onClick={() => replay.mutate({ params: { query: { consumer: name } } }, { onSuccess: () => void queryClient.invalidateQueries() })}
            >
              Send {plural(dead, 'dead letter')} again
            </Button>
          )}
        </div>
      </div>
      {open && <Letters consumer={name} search={search} onChange={onChange} />}
    </li>
  )
}
