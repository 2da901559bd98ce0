/** What is not as usual about a study or series: a word in a frame, explained on hover, on focus and to screen readers. */
import { Tooltip } from '@mantine/core'
import type { ReactNode } from 'react'
import classes from './common.module.css'

const TOUCH_TOO = { hover: true, focus: true, touch: true }

function Mark({ name, explains, children }: { name: string; explains: string; children: ReactNode }) {
  return (
    <Tooltip label={explains} multiline maw={300} events={TOUCH_TOO}>
      <span className={classes.mark} data-mark={name}>
        {children}
        <span className="sr-only">: {explains}</span>
      </span>
    </Tooltip>
  )
}

/** Its files do not name the UID that it is known by. */
export function DerivedMark({ of }: { of: 'Study' | 'Series' }) {
  const from = of === 'Study' ? 'where they lay' : 'their series number or folder'
  return (
    <Mark name="derived" explains={`The files name no ${of} Instance UID. Hilum derived one from ${from}; they are stored as they came.`}>
      Derived
    </Mark>
  )
}

/** It waits in quarantine. */
export function NoPatientMark() {
  return (
    <Mark name="no-patient" explains="No file names a patient. The study waits under Jobs, Quarantine, until a person says whose it is.">
      No patient
    </Mark>
  )
}
