/** Says that a study was deleted, and brings it back on request. */
import { useNavigate } from '@tanstack/react-router'
import { api, queryClient, sentence } from '../api/client'
import { Toast } from '../common/Toast'
import { rememberDeleted, useDeleted } from './deleted'

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
    <Toast label="Deleted study" busy={restore.isPending} onUndo={undo} onDismiss={() => rememberDeleted(null)}>
      {restore.error ? sentence(restore.error) : `Deleted: ${deleted.description || 'a study without description'}`}
    </Toast>
  )
}
