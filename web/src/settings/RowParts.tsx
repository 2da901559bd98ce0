/** What the rows of settings have in common: how a thing fares, what a test of it gave, and what may be done to it. */
import { ActionIcon, Button } from '@mantine/core'
import { IconPencil, IconRotate, IconTrash } from '@tabler/icons-react'
import type { ReactNode } from 'react'
import { duration, plural } from '../common/format'
import type { Fares } from './fares'
import classes from './settings.module.css'

export function Mood({ mood, sentence, title }: Fares & { title?: string | undefined }) {
  return (
    <span className={classes.mood} data-mood={mood} title={title}>
      {sentence}
    </span>
  )
}

export function Tested({ result }: { result: { good: boolean; words: string; milliseconds: number } | undefined }) {
  return (
    <div role="status">
      {result && (
        <span className={classes.mood} data-mood={result.good ? 'good' : 'bad'} data-testid="tested">
          {result.words} ({duration(result.milliseconds)})
        </span>
      )}
    </div>
  )
}

/** A button that does something at once. */
export function Act({ busy, icon, onClick, children }: { busy: boolean; icon?: ReactNode; onClick: () => void; children: ReactNode }) {
  return (
    <Button size="compact-sm" variant="default" loading={busy} leftSection={icon} onClick={onClick}>
      {children}
    </Button>
  )
}

/** Have what could not be sent sent again; nothing where there is none. */
export function SendAgain({ dead, busy, onClick }: { dead: number; busy: boolean; onClick: () => void }) {
  if (!dead) return null
  return (
    <Button size="compact-sm" leftSection={<IconRotate size={14} />} loading={busy} onClick={onClick}>
      Send {plural(dead, 'dead letter')} again
    </Button>
  )
}

export function EditDelete({ name, busy = false, onEdit, onDelete }: { name: string; busy?: boolean; onEdit: () => void; onDelete: () => void }) {
  return (
    <>
      <ActionIcon variant="default" aria-label={`Edit ${name}`} onClick={onEdit}>
        <IconPencil size={15} />
      </ActionIcon>
      <ActionIcon variant="default" aria-label={`Delete ${name}`} loading={busy} onClick={onDelete}>
        <IconTrash size={15} />
      </ActionIcon>
    </>
  )
}
