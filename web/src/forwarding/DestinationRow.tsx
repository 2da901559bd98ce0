/** One destination: where it is, how it fares, and what may be done to it. */
import { IconPlayerPause, IconPlayerPlay } from '@tabler/icons-react'
import { api, fetchClient, queryClient } from '../api/client'
import type { Destination } from '../api/types'
import { Failed } from '../common/Failed'
import { Act, EditDelete, Mood, Tested } from '../settings/RowParts'
import type { Undo } from './undo'
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
        <Mood {...fares(destination)} />
        <Tested result={test.data && { good: test.data.ok, words: test.data.message, milliseconds: test.data.milliseconds }} />
        <Failed error={failed} />
      </div>
      <div className={classes.acts}>
        <Act busy={test.isPending} onClick={() => test.mutate({ params })}>
          Test
        </Act>
        <Act
          busy={patch.isPending}
          icon={destination.active ? <IconPlayerPause size={14} /> : <IconPlayerPlay size={14} />}
          onClick={() => patch.mutate({ params, body: { active: !destination.active } }, { onSuccess: renew })}
        >
          {destination.active ? 'Pause' : 'Go on'}
        </Act>
        <EditDelete name={destination.name} busy={remove.isPending} onEdit={onEdit} onDelete={() => remove.mutate({ params }, { onSuccess: deleted })} />
      </div>
    </li>
  )
}
