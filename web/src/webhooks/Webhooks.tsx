/** Addresses of other programs that are told what happens here. */
import { Button } from '@mantine/core'
import { IconPlus, IconWebhook } from '@tabler/icons-react'
import { useState } from 'react'
import { api } from '../api/client'
import type { CreatedWebhook, Webhook } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import classes from '../settings/settings.module.css'
import { Secret } from './Secret'
import { WebhookForm } from './WebhookForm'
import { WebhookRow } from './WebhookRow'

/** As many as there may be. */
const ALL = 200

export function Webhooks() {
  const [editing, setEditing] = useState<Webhook | 'new'>()
  const [added, setAdded] = useState<CreatedWebhook>()
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/webhooks', { params: { query: { limit: ALL } } }, { refetchInterval: 3000 })
  if (error && !data) return <ErrorNotice error={error} title="The webhooks could not be loaded" onRetry={() => void refetch()} />
  return (
    <>
      {data?.total === 0 && (
        <div className={common.empty}>
          <IconWebhook size={42} stroke={1.4} />
          <h2>No program is told of anything</h2>
          <p>Hilum can tell other programs what happens: an instance was stored, a study is complete. Name the address that is to be sent it.</p>
          <Button leftSection={<IconPlus size={16} />} onClick={() => setEditing('new')}>
            Add a webhook
          </Button>
        </div>
      )}
      {data && data.total > 0 && (
        <section aria-labelledby="webhooks" className={classes.section}>
          <header>
            <h2 id="webhooks">Webhooks</h2>
            <Button size="compact-sm" variant="default" leftSection={<IconPlus size={14} />} onClick={() => setEditing('new')}>
              Add a webhook
            </Button>
          </header>
          <ul className={classes.list}>
            {data.items.map((hook) => (
              <WebhookRow key={hook.id} hook={hook} onEdit={() => setEditing(hook)} />
            ))}
          </ul>
        </section>
      )}
      {editing && (
        <WebhookForm
          hook={editing === 'new' ? undefined : editing}
          onAdded={(hook) => {
            setEditing(undefined)
            setAdded(hook)
          }}
          onClose={() => setEditing(undefined)}
        />
      )}
      {added && <Secret hook={added} onClose={() => setAdded(undefined)} />}
    </>
  )
}
