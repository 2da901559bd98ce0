/** The list as a table, for wide windows: dense, sortable, with one active row that the keyboard moves. */
import { Tooltip } from '@mantine/core'
import { IconCloud } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import type { Study } from '../api/types'
import { count, date, NONE, plural, time } from '../common/format'
import { DerivedMark, NoPatientMark } from '../common/Marks'
import { ModalityBadge } from '../common/Modality'
import { SkeletonRows } from '../common/Skeletons'
import { SortHeader } from '../common/SortHeader'
import { ReportStatus, StudyStatus } from '../common/StudyStatus'
import { PAGE_SIZE } from './search'
import classes from './studies.module.css'

interface Props {
  studies: readonly Study[] | undefined
  sort: string
  onSort: (sort: string) => void
  active: number
  onOpen: (study: Study) => void
}

export function StudyTable({ studies, sort, onSort, active, onOpen }: Props) {
  const head = { sort, onSort }
  return (
    <table className={`table ${classes.table}`} aria-label="Studies" aria-busy={!studies}>
      <thead>
        <tr>
          <SortHeader label="Date" field="study_date" downFirst width="6.4rem" {...head} />
          <SortHeader label="Patient" field="patient" width="14%" {...head} />
          <SortHeader label="Modality" field="modality" width="5.8rem" {...head} />
          <SortHeader label="Body part" field="body_part" width="6.4rem" {...head} />
          <th scope="col">
            <span>Description</span>
          </th>
          <SortHeader label="Facility" field="facility" width="11.5%" {...head} />
          <SortHeader label="Physician" field="physician" width="10.5%" {...head} />
          <th scope="col" className="right" style={{ width: '4.9rem' }}>
            <span>Images</span>
          </th>
          <SortHeader label="Report" field="report_status" width="5.9rem" {...head} />
          <th scope="col" style={{ width: '6.2rem' }}>
            <span>Status</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {!studies && <SkeletonRows rows={PAGE_SIZE} columns={10} />}
        {studies?.map((study, index) => (
          <tr
            key={`${study.source}/${study.study_instance_uid}`}
            data-testid="study-row"
            data-study-uid={study.study_instance_uid}
            data-active={index === active || undefined}
            onClick={(event) => {
              // Links and text that is being selected keep their own meaning.
              if ((event.target as HTMLElement).closest('a') || window.getSelection()?.toString()) return
              onOpen(study)
            }}
          >
            <td className={classes.date}>
              <div className={classes.two}>
                <Link to="/imaging/$studyId" params={{ studyId: String(study.id) }} search={{}} aria-current={index === active || undefined}>
                  {date(study.study_date)}
                </Link>
                <span className="dim">{time(study.study_time)}</span>
              </div>
            </td>
            <td>
              <div className={classes.two}>
                <span className="ellipsis">{study.patient_name || <span className="dim">No name</span>}</span>
                <span className="dim ellipsis">{study.quarantine ? <NoPatientMark /> : study.patient_id || NONE}</span>
              </div>
            </td>
            <td>
              <span className={classes.badges}>
                {study.modalities.map((modality) => (
                  <ModalityBadge key={modality.code} {...modality} />
                ))}
              </span>
            </td>
            <td className="ellipsis">{study.body_part || <span className="dim">{NONE}</span>}</td>
            <td>
              <div className={classes.two}>
                <span className="ellipsis" title={study.study_description}>
                  {study.study_description || <span className="dim">No description</span>}
                </span>
                <span className="dim ellipsis">
                  {study.accession_number || NONE} {study.derived && <DerivedMark of="Study" />}
                </span>
              </div>
            </td>
            <td className="ellipsis" title={study.facility}>
              {study.facility || <span className="dim">{NONE}</span>}
            </td>
            <td className="ellipsis" title={study.physician}>
              {study.physician || <span className="dim">{NONE}</span>}
            </td>
            <td className="right">
              <div className={classes.two}>
                <span>{count(study.num_images)}</span>
                <span className="dim">{plural(study.num_series, 'series', 'series')}</span>
              </div>
            </td>
            <td>
              <ReportStatus status={study.report_status} />
            </td>
            <td>
              <span className={classes.badges}>
                <StudyStatus status={study.status} reason={study.status_reason} />
                {study.availability === 'remote' && (
                  <Tooltip label="In a remote archive; not copied here">
                    <IconCloud size={15} aria-label="Remote" />
                  </Tooltip>
                )}
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}
