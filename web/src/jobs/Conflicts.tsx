/** Studies whose files name two patients: both side by side, and the decision whose all of it is. */
import { Button } from '@mantine/core'
import { IconUsers } from '@tabler/icons-react'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Conflict } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import common from '../common/common.module.css'
import { ago, moment, plural } from '../common/format'
import { Pager } from '../common/Pager'
import { JobSkeletons } from './JobCard'
import { PAGE_SIZE } from './search'
import { type Settled, SettledLine } from './SettledLine'
import { StudyLine } from './StudyLine'
import { type useConflicts, useDetail } from './waiting'
import classes from './jobs.module.css'

type Side = 'archived' | 'arrived'

/** Both patients as they are shown; an id is what tells them apart, a name helps. */
function patientsOf(conflict: Conflict): Record<Side, { id: string; name: string; issuer: string }> {
  return {
    archived: { id: conflict.archived_patient_id || 'the patient without ID', name: conflict.archived_patient_name ?? '', issuer: '' },
    arrived: {
      id: conflict.arrived_patient_id || 'the patient without ID',
      name: conflict.arrived_patient_name,
      issuer: conflict.arrived_issuer_of_patient_id,
    },
  }
}

function Patient({ title, name, id, issuer, note, children }: { title: string; name: string; id: string; issuer: string; note: string; children: React.ReactNode }) {
  return (
    <section className={classes.patient} aria-label={title}>
      <h3>{title}</h3>
      <strong>{name || 'No name'}</strong>
      <span>
        {id} {issuer && <span className="dim">issued by {issuer}</span>}
      </span>
      <p className="dim">{note}</p>
      {children}
    </section>
  )
}

function Row({ conflict, busy, onSettled }: { conflict: Conflict; busy: boolean; onSettled: (settled: Settled) => void }) {
  const { data: study } = useDetail(conflict.study)
  const [side, setSide] = useState<Side>()
  const settle = api.useMutation('post', '/api/v1/imaging/conflicts/{number}/settle')
  const { archived, arrived } = patientsOf(conflict)
  const files = plural(conflict.files, 'file')
  const joins = conflict.files === 1 ? 'joins' : 'join'
  const decide = (patient: Side) => {
    setSide(patient)
    settle.mutate(
      { params: { path: { number: conflict.id } }, body: { patient } },
      {
        onSuccess: (job) => {
          onSettled({ conflict: conflict.id, job: job.id, study: conflict.study, patient: patient === 'archived' ? archived.id : arrived.id })
          void queryClient.invalidateQueries()
        },
      },
    )
  }
  const button = (patient: Side, label: string) => (
    <Button
      size="xs"
      variant="default"
      disabled={(busy && side !== patient) || (settle.isPending && side !== patient)}
      loading={side === patient && (settle.isPending || busy)}
      onClick={() => decide(patient)}
    >
      {label}
    </Button>
  )
  return (
    <li className={classes.conflict} data-testid="conflict">
      <div className={classes.about}>
        {study ? <StudyLine study={study} /> : <span className="mono">{conflict.study_instance_uid}</span>}
        <span className="dim" title={moment(conflict.received_at)}>
          From {conflict.source} · {files} set aside · received {ago(conflict.received_at)}
        </span>
      </div>
      {conflict.study === null ? (
        <div className={classes.patients}>
          <Patient title="Arrived later" {...arrived} note={`The archived study has been deleted; the ${files} can be archived as a study of ${arrived.id}.`}>
            {button('arrived', `Archive under ${arrived.id}`)}
          </Patient>
        </div>
      ) : (
        <div className={classes.patients}>
          <Patient title="Archived under" {...archived} note={`The ${files} ${joins} the study, and all of it stays with ${archived.id}.`}>
            {button('archived', `Keep it with ${archived.id}`)}
          </Patient>
          <Patient title="Arrived later" {...arrived} note={`The whole study moves to ${arrived.id}, and the ${files} ${joins} it.`}>
            {button('arrived', `Move it to ${arrived.id}`)}
          </Patient>
        </div>
      )}
      <Failed error={settle.error} />
    </li>
  )
}

interface Props {
  list: ReturnType<typeof useConflicts>
  page: number
  onPage: (page: number) => void
}

export function Conflicts({ list: { data, error, refetch }, page, onPage }: Props) {
  const [settled, setSettled] = useState<Settled[]>([])
  const [ended, setEnded] = useState<ReadonlySet<number>>(new Set())
  if (error && !data) return <ErrorNotice error={error} title="The conflicts could not be listed" onRetry={() => void refetch()} />
  const busy = new Set(settled.filter((one) => !ended.has(one.job)).map((one) => one.conflict))
  return (
    <>
      {settled.map((one) => (
        <SettledLine key={one.job} settled={one} onEnd={() => setEnded((before) => new Set(before).add(one.job))} />
      ))}
      {!data && <JobSkeletons />}
      {data?.total === 0 && (
        <div className={common.empty}>
          <IconUsers size={42} stroke={1.4} />
          <h2>No study has two patients</h2>
          <p>Where files of one study name another patient than the archive has for it, they are kept, and both stand here until somebody decides.</p>
        </div>
      )}
      <ul className={classes.jobs} aria-label="Studies of two patients">
        {data?.items.map((conflict) => (
          <Row key={conflict.id} conflict={conflict} busy={busy.has(conflict.id)} onSettled={(one) => setSettled((before) => [...before, one])} />
        ))}
      </ul>
      {data && data.total > 0 && <Pager page={page} size={PAGE_SIZE} total={data.total} noun="conflicts" onPage={onPage} />}
    </>
  )
}
