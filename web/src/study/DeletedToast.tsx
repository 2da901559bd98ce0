/** Says that a study was deleted, and brings it back on request. */
import { Button, CloseButton } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { api, queryClient, sentence } from '../api/client'
import { rememberDeleted, useDeleted } from './deleted'
import classes from './study.module.css'

export function DeletedToast() {
  const deleted = useDeleted()
  const navigate = useNavigate()
  const restore = api.useMutation('post', '/api/v1/imaging/studies/{study}/restore')
  if (!deleted) return null
  const undo = () =>
    restore.mutate(
      { params: { path: { study: String(deleted.id) } } },
      {
        onSuccess: () => {
          rememberDeleted(null)
          void queryClient.invalidateQueries()
          void navigate({ to: '/imaging/$studyId', params: { studyId: String(deleted.id) }, search: {} })
        },
      },
    )
  return (
    <section className={classes.toast} aria-label="Deleted study">
      <span role="status">{restore.error ? sentence(restore.error) : `Deleted: ${deleted.description || 'a study without description'}`}</span>
      <Button size="compact-sm" variant="default" onClick={undo} loading={restore.isPending}>
        Undo
      </Button>
      <CloseButton size="sm" aria-label="Dismiss" onClick={() => rememberDeleted(null)} />
    </section>
  )
}
