/** A study in a line of its own: what it is, when it was made and how much it holds; the way to its page. */
import { Link } from '@tanstack/react-router'
import type { Study } from '../api/types'
import { date, plural, time } from '../common/format'
import { DerivedMark } from '../common/Marks'
import { ModalityBadge } from '../common/Modality'
import classes from './jobs.module.css'

type Shown = Pick<Study, 'id' | 'modalities' | 'study_date' | 'study_time' | 'study_description' | 'num_images' | 'num_series' | 'derived'>

export function StudyLine({ study }: { study: Shown }) {
  return (
    <span className={classes.study}>
      {study.modalities.map((modality) => (
        <ModalityBadge key={modality.code} {...modality} />
      ))}
      <Link to="/imaging/$studyId" params={{ studyId: String(study.id) }} search={{}}>
        {study.study_description || 'No description'}
      </Link>
      <span>
        {study.study_date ? `${date(study.study_date)} ${time(study.study_time)}` : 'no date'} · {plural(study.num_images, 'image')} in{' '}
        {plural(study.num_series, 'series', 'series')}
      </span>
      {study.derived && <DerivedMark of="Study" />}
    </span>
  )
}
