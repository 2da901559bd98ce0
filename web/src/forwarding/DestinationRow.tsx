/** One destination: where it is, how it fares, and what may be done to it. */
import { ActionIcon, Button } from '@mantine/core'
import { IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react'
import { api, fetchClient, queryClient, sentence } from '../api/client'
import type { Destination } from '../api/types'
import { duration } from '../common/format'
import type { Undo } from './Forwarding'
import { fares, whereabouts } from './text'
import classes from '../settings/settings.module.css'

interface Props {
  destination: Destination
  onEdit: () => void
  onUndo: (undo: Undo) => void
}

export function DestinationRow({ destination, onEdit, onUndo }: Props) {
  const params = { path: { destination: destination.id } }
  const test = api.useMutation('post', '/api/v1/imaging/destinations/{destination}/test')
  const patch = api.useMutation('patch', '/api/v1/imaging/destinations/{destination}')
  const remove = api.useMutation('delete', '/api/v1/imaging/destinations/{destination}')
  const renew = () => void queryClient.invalidateQueries()
  const { mood, sentence: state } = fares(destination)
  const failed = test.error ?? patch.error ?? remove.error
  const deleted = () => {
    renew()
    onUndo({
      what: `Deleted: ${destination.name}`,
      undo: async () => {
        const { error } = await fetchClient.POST('/api/v1/imaging/destinations/{destination}/restore', { params })
        if (error) throw error
      },
    })
  }
  return (
    <li className={classes.row} data-testid="destination">
      <div className={classes.about}>
        <strong>{destination.name}</strong>
        <span className="dim">{whereabouts(destination)}</span>
        <span className={classes.mood} data-mood={mood}>
          {state}
        </span>
        <div role="status">
          {test.data && (
            <span className={classes.mood} data-mood={test.data.ok ? 'good' : 'bad'} data-testid="tested">
              {test.data.message} ({duration(test.data.milliseconds)})
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
        <Button size="compact-sm" variant="default" loading={test.isPending} onClick={() => test.mutate({ params })}>
          Test
        </Button>
        <Button
          size="compact-sm"
          variant="default"
          loading={patch.isPending}
          leftSection={destination.active ? <IconPlayerPause size={14} /> : <IconPlayerPlay size={14} />}
          onClick={() => patch.mutate({ params, body: { active: !destination.active } }, { onSuccess: renew })}
        >
          {destination.active ? 'Pause' : 'Go on'}
        </Button>
        <ActionIcon variant="default" aria-label={`Edit ${destination.name}`} onClick={onEdit}>
          <IconPencil size={15} />
        </ActionIcon>
        <ActionIcon
          variant="default"
          aria-label={`Delete ${destination.name}`}
          loading={remove.isPending}
          onClick={() => remove.mutate({ params }, { onSuccess: deleted })}
        >
          <IconTrash size={15} />
        </ActionIcon>
      </div>
    </li>
  )
}
