/** One webhook: what it is sent, how the last delivery went, and what may be done to it. */
import { ActionIcon, Button, Modal } from '@mantine/core'
import { IconPencil, IconRotate, IconTrash } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { api, queryClient, sentence } from '../api/client'
import type { Webhook } from '../api/types'
import { count, duration, moment, plural } from '../common/format'
import classes from '../settings/settings.module.css'
import { fares, told } from './text'

function Deletion({ hook, onClose }: { hook: Webhook; onClose: () => void }) {
  const remove = api.useMutation('delete', '/api/v1/imaging/webhooks/{webhook_id}')
  const done = { onSuccess: () => void queryClient.invalidateQueries().then(onClose) }
  return (
    <Modal opened onClose={onClose} title="Delete the webhook?" centered>
      <div className={classes.form}>
        <p className={classes.words}>
          Nothing more is sent to {hook.url}, and its deliveries and its secret are forgotten. To have it wait instead, switch it off.
        </p>
        {remove.error && (
          <p role="alert" className={classes.failed}>
            {sentence(remove.error)}
          </p>
        )}
        <div className={classes.buttons}>
          <Button variant="default" data-autofocus onClick={onClose}>
            Keep it
          </Button>
          <Button color="red" loading={remove.isPending} onClick={() => remove.mutate({ params: { path: { webhook_id: hook.id } } }, done)}>
            Delete
          </Button>
        </div>
      </div>
    </Modal>
  )
}

export function WebhookRow({ hook, onEdit }: { hook: Webhook; onEdit: () => void }) {
  const [deleting, setDeleting] = useState(false)
  const params = { path: { webhook_id: hook.id } }
  const consumer = `webhook:${String(hook.id)}`
  const { data } = api.useQuery('get', '/api/v1/imaging/deliveries', { params: { query: { consumer, limit: 1 } } }, { refetchInterval: 3000 })
  const test = api.useMutation('post', '/api/v1/imaging/webhooks/{webhook_id}/test')
  const patch = api.useMutation('patch', '/api/v1/imaging/webhooks/{webhook_id}')
  const replay = api.useMutation('post', '/api/v1/imaging/webhooks/{webhook_id}/replay')
  const renew = () => void queryClient.invalidateQueries()
  const last = data?.items[0]
  const { mood, sentence: state } = fares(hook, last)
  const failed = test.error ?? patch.error ?? replay.error
  return (
    <li className={classes.row} data-testid="webhook">
      <div className={classes.about}>
        <strong>{hook.url}</strong>
        <span className="dim">{told(hook)}</span>
        <span className={classes.mood} data-mood={mood} title={last?.tried_at ? moment(last.tried_at) : undefined}>
          {state}
        </span>
        {hook.retrying > 0 && <span>{plural(hook.retrying, 'event')} tried again</span>}
        {(data?.total ?? 0) > 0 && (
          <Link to="/settings" search={{ section: 'deliveries', consumer }}>
            {count(data?.total)} in the list of deliveries
          </Link>
        )}
        <div role="status">
          {test.data && (
            <span className={classes.mood} data-mood={test.data.delivered ? 'good' : 'bad'} data-testid="tested">
              {test.data.delivered ? 'It took the test.' : test.data.reason} ({duration(test.data.milliseconds)})
            </span>
          )}
        </div>
        {failed && (
          <p role="alert" className={classes.failed}>
            {sentence(failed)}
          </p>
        )}
      </div>
      <div className={classes.acts}>
        {hook.dead > 0 && (
          <Button size="compact-sm" leftSection={<IconRotate size={14} />} loading={replay.isPending} onClick={() => replay.mutate({ params }, { onSuccess: renew })}>
            Send {plural(hook.dead, 'dead letter')} again
          </Button>
        )}
        <Button size="compact-sm" variant="default" loading={test.isPending} onClick={() => test.mutate({ params })}>
          Test
        </Button>
        <Button
          size="compact-sm"
          variant="default"
          loading={patch.isPending}
          onClick={() => patch.mutate({ params, body: { active: !hook.active } }, { onSuccess: renew })}
        >
          {hook.active ? 'Switch off' : 'Switch on'}
        </Button>
        <ActionIcon variant="default" aria-label={`Edit ${hook.url}`} onClick={onEdit}>
          <IconPencil size={15} />
        </ActionIcon>
        <ActionIcon variant="default" aria-label={`Delete ${hook.url}`} onClick={() => setDeleting(true)}>
          <IconTrash size={15} />
        </ActionIcon>
      </div>
      {deleting && <Deletion hook={hook} onClose={() => setDeleting(false)} />}
    </li>
  )
}
