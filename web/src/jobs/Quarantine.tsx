/** Studies of which no file names a patient, each with the form that gives it one. */
import { Button, TextInput } from '@mantine/core'
import { IconUserCheck } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { type SubmitEvent, useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Study } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import common from '../common/common.module.css'
import { ago, moment } from '../common/format'
import { Pager } from '../common/Pager'
import { firstToLookAt } from '../study/seriesText'
import { Thumbnail } from '../study/Thumbnail'
import { JobSkeletons } from './JobCard'
import { PAGE_SIZE } from './search'
import { StudyLine } from './StudyLine'
import { useDetail, type useQuarantine } from './waiting'
import classes from './jobs.module.css'

function Release({ study, onReleased }: { study: Study; onReleased: (study: Study) => void }) {
  const [id, setId] = useState('')
  const [issuer, setIssuer] = useState('')
  const release = api.useMutation('post', '/api/v1/imaging/quarantine/{study}/release')
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault()
    // The row goes away with the study: the next form is where one goes on.
    const row = event.currentTarget.closest('li')
    const next = (row?.nextElementSibling ?? row?.previousElementSibling)?.querySelector('input')
    release.mutate(
      { params: { path: { study: String(study.id) } }, body: { patient_id: id, issuer_of_patient_id: issuer } },
      {
        onSuccess: (released) => {
          next?.focus()
          onReleased(released)
          void queryClient.invalidateQueries()
        },
      },
    )
  }
  return (
    <form className={classes.release} onSubmit={submit} aria-label="Whose it is">
      <TextInput size="xs" label="Patient ID" maxLength={64} value={id} autoComplete="off" onChange={(event) => setId(event.currentTarget.value)} />
      <TextInput
        size="xs"
        label="Issuer"
        placeholder="Optional"
        maxLength={64}
        value={issuer}
        autoComplete="off"
        onChange={(event) => setIssuer(event.currentTarget.value)}
      />
      <Button size="xs" type="submit" disabled={!id.trim()} loading={release.isPending}>
        Give it this patient
      </Button>
      <Failed error={release.error} />
    </form>
  )
}

function Row({ study, onReleased }: { study: Study; onReleased: (study: Study) => void }) {
  const { data: detail } = useDetail(study.id)
  const series = detail && firstToLookAt(detail.series)
  return (
    <li className={classes.case} data-testid="quarantined">
      {series ? <Thumbnail series={series} size={64} /> : <span className={classes.noThumb} />}
      <div className={classes.about}>
        <StudyLine study={study} />
        <span className="dim" title={moment(study.received_at)}>
          From {study.source} · received {ago(study.received_at)}
        </span>
      </div>
      <Release study={study} onReleased={onReleased} />
    </li>
  )
}

interface Props {
  list: ReturnType<typeof useQuarantine>
  page: number
  onPage: (page: number) => void
}

export function Quarantine({ list: { data, error, refetch }, page, onPage }: Props) {
  const [released, setReleased] = useState<Study>()
  if (error && !data) return <ErrorNotice error={error} title="The studies could not be listed" onRetry={() => void refetch()} />
  return (
    <>
      <div role="status">
        {released && (
          <p className={classes.settled}>
            {released.study_description || 'The study'} belongs to {released.patient_id} now.{' '}
            <Link to="/imaging/$studyId" params={{ studyId: String(released.id) }} search={{}}>
              Open it
            </Link>
          </p>
        )}
      </div>
      {!data && <JobSkeletons />}
      {data?.total === 0 && (
        <div className={common.empty}>
          <IconUserCheck size={42} stroke={1.4} />
          <h2>Every study has a patient</h2>
          <p>A study of which no file names a patient is taken all the same, and waits here until somebody says whose it is.</p>
        </div>
      )}
      <ul className={classes.jobs} aria-label="Studies without a patient">
        {data?.items.map((study) => <Row key={study.id} study={study} onReleased={setReleased} />)}
      </ul>
      {data && data.total > 0 && <Pager page={page} size={PAGE_SIZE} total={data.total} noun="studies" onPage={onPage} />}
    </>
  )
}
