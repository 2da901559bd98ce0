/** One webhook: what it is sent, how the last delivery went, and what may be done to it. */
import { Button, Modal } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Webhook } from '../api/types'
import { count, moment, plural } from '../common/format'
import { Failed } from '../common/Failed'
import { Act, EditDelete, Mood, SendAgain, Tested } from '../settings/RowParts'
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
        <Failed error={remove.error} />
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
  const failed = test.error ?? patch.error ?? replay.error
  return (
    <li className={classes.row} data-testid="webhook">
      <div className={classes.about}>
        <strong>{hook.url}</strong>
        <span className="dim">{told(hook)}</span>
        <Mood {...fares(hook, last)} title={last?.tried_at ? moment(last.tried_at) : undefined} />
        {hook.retrying > 0 && <span>{plural(hook.retrying, 'event')} tried again</span>}
        {(data?.total ?? 0) > 0 && (
          <Link to="/settings" search={{ section: 'deliveries', consumer }}>
            {count(data?.total)} in the list of deliveries
          </Link>
        )}
        <Tested result={test.data && { good: test.data.delivered, words: test.data.delivered ? 'It took the test.' : test.data.reason, milliseconds: test.data.milliseconds }} />
        <Failed error={failed} />
      </div>
      <div className={classes.acts}>
        <SendAgain dead={hook.dead} busy={replay.isPending} onClick={() => replay.mutate({ params }, { onSuccess: renew })} />
        <Act busy={test.isPending} onClick={() => test.mutate({ params })}>
          Test
        </Act>
        <Act busy={patch.isPending} onClick={() => patch.mutate({ params, body: { active: !hook.active } }, { onSuccess: renew })}>
          {hook.active ? 'Switch off' : 'Switch on'}
        </Act>
        <EditDelete name={hook.url} onEdit={onEdit} onDelete={() => setDeleting(true)} />
      </div>
      {deleting && <Deletion hook={hook} onClose={() => setDeleting(false)} />}
    </li>
  )
}
