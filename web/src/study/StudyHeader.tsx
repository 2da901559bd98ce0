/** Who and what: the patient, the study, and every field of it that is known, in a dense grid. */
import { ActionIcon, Button, CopyButton, Tooltip } from '@mantine/core'
import { IconCheck, IconCopy, IconEye } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import type { Series, StudyDetail } from '../api/types'
import { age, ago, bytes, count, date, moment, origin, plural, time } from '../common/format'
import { DerivedMark, NoPatientMark } from '../common/Marks'
import { ModalityBadge } from '../common/Modality'
import { ReportStatus, StudyStatus, waitsFor } from '../common/StudyStatus'
import { FetchImages } from './FetchImages'
import { StudyActions } from './StudyActions'
import classes from './study.module.css'

const SEX: Record<string, string> = { F: 'Female', M: 'Male', O: 'Other' }

function Copy({ value, what }: { value: string; what: string }) {
  return (
    <CopyButton value={value}>
      {({ copied, copy }) => (
        <ActionIcon size={18} variant="subtle" color="gray" aria-label={`Copy the ${what}`} onClick={copy}>
          {copied ? <IconCheck size={13} /> : <IconCopy size={13} />}
        </ActionIcon>
      )}
    </CopyButton>
  )
}

function Fields({ study }: { study: StudyDetail }) {
  const device = [study.manufacturer, study.model].filter(Boolean).join(' ')
  const remote = study.availability === 'remote'
  const rows: [string, ReactNode][] = [
    ['Accession', study.accession_number],
    ['Study ID', study.study_id],
    ['Body part', study.body_part],
    ['Facility', study.facility],
    ['Physician', study.physician],
    ['Device', device],
    ['Field strength', study.magnetic_field_strength == null ? null : `${study.magnetic_field_strength} T`],
    ['Radiopharmaceutical', study.radiopharmaceutical],
    ['Contrast', [study.contrast_bolus_agent, study.contrast_bolus_route].filter(Boolean).join(', ')],
    [
      'Person',
      study.person_id && (
        <Link key="person" to="/imaging/$studyId" params={{ studyId: String(study.id) }} search={{ tab: 'links' }}>
          {study.person_id}
        </Link>
      ),
    ],
    ['Series', count(study.num_series)],
    remote ? ['Instances', count(study.num_instances)] : ['Images', study.num_images === study.num_instances ? count(study.num_images) : `${count(study.num_images)} in ${plural(study.num_instances, 'instance')}`],
    ['Size', remote ? null : bytes(study.bytes)],
    ['Source', study.source],
    ['Revision', study.revision || null],
    ['Report', <ReportStatus key="report" status={study.report_status} />],
    ['Came in by', study.origins.map(origin).join(', ')],
    ['Received', <span key="received" title={moment(study.received_at)}>{ago(study.received_at)}</span>],
  ]
  return (
    <dl className={classes.fields}>
      {rows
        .filter(([, value]) => value !== null && value !== undefined && value !== '')
        .map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      <div className={classes.wide}>
        <dt>Study Instance UID</dt>
        <dd>
          <span className="mono ellipsis" title={study.study_instance_uid}>
            {study.study_instance_uid}
          </span>
          <Copy value={study.study_instance_uid} what="Study Instance UID" />
        </dd>
      </div>
    </dl>
  )
}

export function StudyHeader({ study, series, source }: { study: StudyDetail; series: Series | undefined; source: string | undefined }) {
  const facts = [
    study.patient_id,
    study.patient_sex ? (SEX[study.patient_sex] ?? study.patient_sex) : null,
    study.patient_birth_date ? `born ${date(study.patient_birth_date)}` : null,
    age(study.patient_birth_date, study.study_date),
  ].filter(Boolean)
  return (
    <section className={`panel ${classes.header}`} aria-label="Study">
      <div className={classes.title}>
        <div className={classes.who}>
          <h1>{study.patient_name || 'No name'}</h1>
          {facts.length > 0 && <span className="dim">{facts.join(' · ')}</span>}
          {study.quarantine && (
            <span className={classes.waits}>
              <NoPatientMark />
              <Link to="/jobs" search={{ view: 'quarantine' }}>
                Say whose it is
              </Link>
            </span>
          )}
        </div>
        <div className={classes.actions}>
          <StudyActions study={study} />
          {study.availability === 'remote' ? (
            <FetchImages study={study} />
          ) : (
            <Tooltip label="Key V" openDelay={500}>
              <Button
                size="sm"
                leftSection={<IconEye size={17} />}
                renderRoot={(props) => (
                  <Link to="/imaging/$studyId/view" params={{ studyId: String(study.id) }} search={{ series: series && String(series.id), source }} {...props} />
                )}
              >
                Open viewer
              </Button>
            </Tooltip>
          )}
        </div>
      </div>
      <div className={classes.what}>
        <span className={classes.when}>
          {date(study.study_date)} {time(study.study_time)}
        </span>
        {study.modalities.map((modality) => (
          <ModalityBadge key={modality.code} {...modality} />
        ))}
        <strong>{study.study_description || <span className="dim">No description</span>}</strong>
        <StudyStatus status={study.status} reason={study.status_reason || waitsFor(study.awaits)} />
        {study.derived && <DerivedMark of="Study" />}
        {study.availability === 'remote' && <span className="dim">In the remote archive</span>}
      </div>
      {study.status === 'error' && study.status_reason && <p className={classes.reason}>{study.status_reason}</p>}
      <Fields study={study} />
    </section>
  )
}
