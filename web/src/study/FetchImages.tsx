/** The images of a study that lies in a remote archive: fetched on request, and its series listed. */
import { Button, Tooltip } from '@mantine/core'
import { IconCloudDownload } from '@tabler/icons-react'
import { useEffect } from 'react'
import { api, queryClient, sentence } from '../api/client'
import type { StudyDetail } from '../api/types'
import classes from './study.module.css'

const COMING_MS = 1000

export function FetchImages({ study }: { study: StudyDetail }) {
  const params = { path: { study: String(study.id) } }
  const copy = api.useQuery('get', '/api/v1/imaging/studies/{study}/copy', { params }, {
    refetchInterval: (query) => (query.state.data?.state === 'waiting' || query.state.data?.state === 'fetching' ? COMING_MS : false),
  })
  const fetch = api.useMutation('post', '/api/v1/imaging/studies/{study}/copy')
  const list = api.useMutation('post', '/api/v1/imaging/studies/{study}/index-series')
  const renew = { onSuccess: () => void queryClient.invalidateQueries() }
  const state = copy.data?.state
  const coming = state === 'waiting' || state === 'fetching'
  useEffect(() => {
    if (state === 'held') void queryClient.invalidateQueries()
  }, [state])
  const failed = fetch.error ?? list.error
  const words = failed ? sentence(failed) : state === 'failed' || coming ? copy.data?.error : ''
  return (
    <>
      {words && (
        <span role="alert" className={classes.reason}>
          {words}
        </span>
      )}
      {study.series.length === 0 && (
        <Button size="sm" variant="default" loading={list.isPending} onClick={() => list.mutate({ params }, renew)}>
          List series
        </Button>
      )}
      <Tooltip label="They lie in the remote archive" openDelay={500}>
        <Button
          size="sm"
          leftSection={<IconCloudDownload size={17} />}
          loading={fetch.isPending || coming || state === 'held'}
          onClick={() => fetch.mutate({ params }, renew)}
        >
          Fetch images
        </Button>
      </Tooltip>
    </>
  )
}
