/** One rule: what it does, how far it is, and its queue when it is open. */
import { IconChevronDown, IconChevronRight } from '@tabler/icons-react'
import { api, fetchClient, queryClient } from '../api/client'
import type { Destination, Rule } from '../api/types'
import { ago, moment } from '../common/format'
import { Failed } from '../common/Failed'
import { Act, EditDelete, SendAgain } from '../settings/RowParts'
import type { SettingsSearch } from '../settings/search'
import type { Undo } from './undo'
import { Queue } from './Queue'
import { asSentence, figures } from './text'
import classes from '../settings/settings.module.css'

interface Props {
  rule: Rule
  destination: Destination | undefined
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
  onEdit: () => void
  onUndo: (undo: Undo) => void
}

export function RuleRow({ rule, destination, search, onChange, onEdit, onUndo }: Props) {
  const params = { path: { rule: rule.id } }
  const patch = api.useMutation('patch', '/api/v1/imaging/rules/{rule}')
  const remove = api.useMutation('delete', '/api/v1/imaging/rules/{rule}')
  const replay = api.useMutation('post', '/api/v1/imaging/rules/{rule}/queue/replay')
  const renew = () => void queryClient.invalidateQueries()
  const open = search.rule === String(rule.id)
  const failed = patch.error ?? remove.error ?? replay.error
  const deleted = () => {
    renew()
    onUndo({
      what: `Deleted: ${rule.name}`,
      undo: async () => {
        const { error } = await fetchClient.POST('/api/v1/imaging/rules/{rule}/restore', { params })
        if (error) throw error
      },
    })
  }
  return (
    <li data-testid="rule">
      <div className={classes.row}>
        <div className={classes.about}>
          <strong>{rule.name}</strong>
          <span>{asSentence(rule, destination?.name ?? 'its destination')}</span>
          {!rule.active && <span className="dim">It is off: it takes nothing new, and what it has queued waits.</span>}
          <button
            type="button"
            className={classes.figures}
            aria-expanded={open}
            onClick={() => onChange({ rule: open ? undefined : String(rule.id), state: undefined, page: undefined })}
          >
            {open ? <IconChevronDown size={15} /> : <IconChevronRight size={15} />}
            {figures(rule).map(([figure, unit]) => (
              <span key={unit} data-unit={unit}>
                <b>{figure}</b> {unit}
              </span>
            ))}
            {rule.counts.oldest_at && <span title={moment(rule.counts.oldest_at)}>oldest from {ago(rule.counts.oldest_at)}</span>}
          </button>
          <Failed error={failed} />
        </div>
        <div className={classes.acts}>
          <SendAgain dead={rule.counts.dead} busy={replay.isPending} onClick={() => replay.mutate({ params }, { onSuccess: renew })} />
          <Act busy={patch.isPending} onClick={() => patch.mutate({ params, body: { active: !rule.active } }, { onSuccess: renew })}>
            {rule.active ? 'Switch off' : 'Switch on'}
          </Act>
          <EditDelete
            name={rule.name}
            busy={remove.isPending}
            onEdit={onEdit}
            onDelete={() => {
              if (open) onChange({ rule: undefined, state: undefined, page: undefined }) // its queue goes with it
              remove.mutate({ params }, { onSuccess: deleted })
            }}
          />
        </div>
      </div>
      {open && <Queue rule={rule} search={search} onChange={onChange} />}
    </li>
  )
}
