/** What a person may do to a study: say that it is complete, correct it, delete it. */
import { ActionIcon, Tooltip } from '@mantine/core'
import { IconCircleCheck, IconPencil, IconTrash } from '@tabler/icons-react'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { api, queryClient, sentence } from '../api/client'
import type { StudyDetail } from '../api/types'
import { EditStudy } from './EditStudy'
import { rememberDeleted } from './deleted'

export function StudyActions({ study }: { study: StudyDetail }) {
  const [editing, setEditing] = useState(false)
  const navigate = useNavigate()
  const complete = api.useMutation('post', '/api/v1/imaging/studies/{study}/complete')
  const finish = () => complete.mutate({ params: { path: { study: String(study.id) } } }, { onSuccess: () => void queryClient.invalidateQueries() })
  const remove = api.useMutation('delete', '/api/v1/imaging/studies/{study}')
  const confirm = () =>
    remove.mutate(
      { params: { path: { study: String(study.id) } } },
      {
        onSuccess: () => {
          rememberDeleted({ id: study.id, description: study.study_description })
          void navigate({ to: '/imaging', search: {} }).then(() => queryClient.invalidateQueries())
        },
      },
    )
  return (
    <>
      {study.awaits.includes('instances') && (
        <Tooltip label={complete.error ? sentence(complete.error) : 'Mark complete: do not wait for more instances'} openDelay={500}>
          <ActionIcon size={34} variant="default" aria-label="Mark complete" loading={complete.isPending} onClick={finish}>
            <IconCircleCheck size={17} />
          </ActionIcon>
        </Tooltip>
      )}
      <Tooltip label="Edit" openDelay={500}>
        <ActionIcon size={34} variant="default" aria-label="Edit the study" onClick={() => setEditing(true)}>
          <IconPencil size={17} />
        </ActionIcon>
      </Tooltip>
      <Tooltip label={remove.error ? sentence(remove.error) : 'Delete; it can be undone'} openDelay={500}>
        <ActionIcon size={34} variant="default" aria-label="Delete the study" loading={remove.isPending} onClick={confirm}>
          <IconTrash size={17} />
        </ActionIcon>
      </Tooltip>
      {editing && <EditStudy study={study} onClose={() => setEditing(false)} />}
    </>
  )
}
