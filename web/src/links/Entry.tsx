/** One study that waits: what it is, why it waits, who comes into question, and what can be decided. */
import { Button, Checkbox } from '@mantine/core'
import { IconAlertTriangle, IconHistory } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import type { QueueEntry } from '../api/types'
import { date, NONE, time } from '../common/format'
import { modalityName } from '../common/modalities'
import { ModalityBadge } from '../common/Modality'
import { Picture } from '../study/Thumbnail'
import { CandidateLine } from './CandidateLine'
import { History } from './History'
import { KIND_NAMES, reasonName } from './text'
import classes from './queue.module.css'

export interface Acts {
  onAccept: (entry: QueueEntry, target: number, alike: boolean) => void
  onRefuse: (entry: QueueEntry) => void
  onLeave: (entry: QueueEntry) => void
  onChoose: (entry: QueueEntry, kind?: QueueEntry['kind'], start?: string) => void
}

interface Props extends Acts {
  entry: QueueEntry
  current: boolean
  chosen: boolean
  /** Whether its source is told. */
  from: boolean
  busy: boolean
  onChosen: (chosen: boolean) => void
  onCurrent: () => void
}

const SEX: Record<string, string> = { F: 'female', M: 'male', O: 'other' }

function Who({ entry }: { entry: QueueEntry }) {
  const facts = [
    entry.patient_name || null,
    entry.patient_sex ? (SEX[entry.patient_sex] ?? entry.patient_sex) : null,
    entry.patient_birth_date ? `born ${date(entry.patient_birth_date)}` : null,
    entry.accession_number ? `accession ${entry.accession_number}` : 'no accession number',
    entry.person_id !== null && entry.kind !== 'person' ? `person ${String(entry.person_id)}` : null,
  ].filter(Boolean)
  return (
    <span className={classes.who}>
      <strong>{entry.patient_id || 'No PatientID'}</strong> <span className="dim">{facts.join(' · ')}</span>
    </span>
  )
}

function Strangers({ entry, onChoose }: Pick<Props, 'entry' | 'onChoose'>) {
  const [other] = entry.strangers
  if (!other) return null
  return (
    <p className={classes.stranger}>
      Its accession number is on procedure {other.procedure_occurrence_id} of person {other.person_id}, not of person {entry.person_id}.{' '}
      <button type="button" className={classes.plain} onClick={() => onChoose(entry, 'person', String(other.person_id))}>
        Whose is it?
      </button>
    </p>
  )
}

export function Entry({ entry, current, chosen, from, busy, onChosen, onCurrent, onAccept, onRefuse, onLeave, onChoose }: Props) {
  const [told, setTold] = useState(false)
  const { kind, reason } = entry
  const label = `${entry.study_description || 'Study'} of ${entry.patient_id || 'nobody'}, ${KIND_NAMES[kind]}`
  const refused = reason === 'unlinked'
  const picture = entry.num_images
    ? `/sources/${encodeURIComponent(entry.source)}/dicom-web/studies/${entry.study_instance_uid}/thumbnail?viewport=128,128`
    : undefined
  return (
    <li className={classes.entry} data-testid="entry" data-current={current || undefined} data-reason={reason} aria-label={label} onMouseDown={onCurrent}>
      <Checkbox size="xs" aria-label={`Select ${label}`} checked={chosen} onChange={(event) => onChosen(event.currentTarget.checked)} />
      <Picture src={picture} word={entry.modalities[0] ?? ''} size={64} />
      <div className={classes.about}>
        <span className={classes.study}>
          {entry.modalities.map((code) => (
            <ModalityBadge key={code} code={code} name={modalityName(code)} />
          ))}
          <Link to="/imaging/$studyId" params={{ studyId: String(entry.study_id) }} search={{}}>
            {entry.study_description || 'No description'}
          </Link>
          <span className="dim">
            {entry.study_date ? `${date(entry.study_date)} ${time(entry.study_time)}` : NONE}
            {from && ` · ${entry.source}`}
          </span>
        </span>
        <Who entry={entry} />
        <p className={classes.why}>
          <IconAlertTriangle size={15} aria-hidden />
          <span>
            <b>{reasonName(reason)}.</b> {entry.text}
          </span>
        </p>
      </div>
      <div className={classes.acts}>
        <Button size="compact-sm" variant="default" onClick={() => onChoose(entry)}>
          Choose…
        </Button>
        {refused ? (
          <Button size="compact-sm" variant="default" disabled={busy} onClick={() => onLeave(entry)}>
            Let the rules decide
          </Button>
        ) : (
          <Button size="compact-sm" variant="default" disabled={busy} onClick={() => onRefuse(entry)}>
            Must not be linked
          </Button>
        )}
        <Button size="compact-sm" variant="subtle" color="gray" aria-expanded={told} leftSection={<IconHistory size={14} />} onClick={() => setTold(!told)}>
          History
        </Button>
      </div>
      <div className={classes.rest}>
        <Strangers entry={entry} onChoose={onChoose} />
        {entry.candidates.length > 0 && (
          <ul className={classes.candidates} aria-label="Candidates">
            {entry.candidates.map((one, place) => (
              <CandidateLine key={one.id} kind={kind} candidate={one}>
                {entry.alike > 1 && (
                  <Button size="compact-sm" variant="default" disabled={busy} onClick={() => onAccept(entry, one.id, true)}>
                    Accept for all {entry.alike}
                  </Button>
                )}
                <Button size="compact-sm" variant={current && place === 0 ? 'filled' : 'default'} disabled={busy} data-first={place === 0 || undefined} onClick={() => onAccept(entry, one.id, false)}>
                  Accept
                </Button>
              </CandidateLine>
            ))}
          </ul>
        )}
        {!entry.candidates.length && !refused && <p className={classes.none}>Nothing in the CDM comes into question. Choose by id, or refuse.</p>}
        {told && <History study={entry.study_id} />}
      </div>
    </li>
  )
}
