/** The list as cards, for a phone. */
import { Skeleton } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import type { Study } from '../api/types'
import { date, NONE, plural, time } from '../common/format'
import { DerivedMark, NoPatientMark } from '../common/Marks'
import { ModalityBadge } from '../common/Modality'
import { StudyStatus } from '../common/StudyStatus'
import classes from './studies.module.css'

export function StudyCards({ studies }: { studies: readonly Study[] | undefined }) {
  if (!studies)
    return (
      <div className={classes.cards} aria-busy>
        {Array.from({ length: 6 }, (_, i) => (
          <Skeleton key={i} height={92} radius="md" />
        ))}
      </div>
    )
  return (
    <ul className={classes.cards} aria-label="Studies">
      {studies.map((study) => (
        <li key={`${study.source}/${study.study_instance_uid}`} data-testid="study-row" data-study-uid={study.study_instance_uid}>
          <Link className={`panel ${classes.card}`} to="/imaging/$studyId" params={{ studyId: String(study.id) }} search={{}}>
            <span className={classes.cardTop}>
              <strong className="ellipsis">{study.patient_name || 'No name'}</strong>
              <span className={classes.badges}>
                {study.modalities.map((modality) => (
                  <ModalityBadge key={modality.code} {...modality} />
                ))}
              </span>
            </span>
            <span className={classes.cardText}>{study.study_description || study.body_part || 'No description'}</span>
            <span className={classes.cardFoot}>
              <span>
                {date(study.study_date)} {time(study.study_time)}
              </span>
              <span>{study.quarantine ? <NoPatientMark /> : study.patient_id || NONE}</span>
              <span>{plural(study.num_images, 'image')}</span>
              {study.derived && <DerivedMark of="Study" />}
              {study.status === 'error' && <StudyStatus status={study.status} />}
            </span>
          </Link>
        </li>
      ))}
    </ul>
  )
}
