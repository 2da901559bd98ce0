/** Name an address that events are sent to, or change one. */
import { Modal, SegmentedControl, TagsInput, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { CreatedWebhook, Webhook } from '../api/types'
import { FormFoot } from '../settings/FormFoot'
import classes from '../settings/settings.module.css'
import { TYPES } from './text'

interface Props {
  hook: Webhook | undefined
  onAdded: (hook: CreatedWebhook) => void
  onClose: () => void
}

export function WebhookForm({ hook, onAdded, onClose }: Props) {
  const [url, setUrl] = useState(hook?.url ?? '')
  const [types, setTypes] = useState(hook?.types ?? [])
  const [sources, setSources] = useState(hook?.sources ?? [])
  const [mode, setMode] = useState<Webhook['mode']>(hook?.mode ?? 'binary')
  const known = api.useQuery('get', '/api/v1/imaging/sources', {}, { staleTime: 60_000 })
  const add = api.useMutation('post', '/api/v1/imaging/webhooks')
  const patch = api.useMutation('patch', '/api/v1/imaging/webhooks/{webhook_id}')
  const renew = () => void queryClient.invalidateQueries()
  const body = { url, types, sources, mode }
  const save = () => {
    if (hook) {
      patch.mutate({ params: { path: { webhook_id: hook.id } }, body }, { onSuccess: () => void queryClient.invalidateQueries().then(onClose) })
      return
    }
    add.mutate(
      { body: { ...body, secret: '', active: true } },
      {
        onSuccess: (added) => {
          renew()
          onAdded(added)
        },
      },
    )
  }
  return (
    <Modal opened onClose={onClose} title={hook ? 'Edit the webhook' : 'Add a webhook'} size={560} centered>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <TextInput
          label="Address"
          description="Each event is one signed POST to it."
          placeholder="https://receiver.example/events"
          required
          type="url"
          maxLength={2048}
          data-autofocus
          value={url}
          onChange={(e) => setUrl(e.currentTarget.value)}
        />
        <TagsInput
          label="Events"
          placeholder={types.length ? '' : 'Every type'}
          data={TYPES}
          value={types}
          onChange={setTypes}
          acceptValueOnBlur
        />
        <TagsInput
          label="Sources"
          placeholder={sources.length ? '' : 'Every source'}
          data={known.data?.map((one) => one.key) ?? []}
          value={sources}
          onChange={setSources}
          acceptValueOnBlur
        />
        <SegmentedControl
          aria-label="How an event is sent"
          value={mode}
          onChange={(value) => setMode(value === 'structured' ? 'structured' : 'binary')}
          data={[
            { value: 'binary', label: 'Attributes as headers' },
            { value: 'structured', label: 'One JSON document' },
          ]}
        />
        <FormFoot error={add.error ?? patch.error} busy={add.isPending || patch.isPending} label={hook ? 'Save' : 'Add'} onClose={onClose} />
      </form>
    </Modal>
  )
}
