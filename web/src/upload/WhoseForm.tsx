/** Whose are these files? Asked where they cannot say it themselves, and where a person wants to say it. */
import { Button, Checkbox, CloseButton, TextInput } from '@mantine/core'
import { useState } from 'react'
import { plural } from '../common/format'
import { type Asking, uploads } from './store'
import { missing, type Whose } from './whose'
import classes from './upload.module.css'

/** `2 images and 1 PDF`. */
function described({ files, kinds: { images, pdfs, others } }: Asking): string {
  const known = [images ? plural(images, 'image') : '', pdfs ? plural(pdfs, 'PDF') : ''].filter(Boolean)
  return others || !known.length ? plural(files, 'file') : known.join(' and ')
}

const NOBODY: Whose = { patientId: '', studyDate: '', studyDescription: '', wrapPdf: false }

export function WhoseForm({ asking }: { asking: Asking }) {
  const [whose, setWhose] = useState<Whose>(asking.refused?.whose ?? NOBODY)
  const [tried, setTried] = useState(false)
  const { images, pdfs, others } = asking.kinds
  const change = (part: Partial<Whose>) => setWhose({ ...whose, ...part })
  const lacks = missing(whose, asking.kinds)
  const wrong = tried ? lacks : asking.refused?.error
  return (
    <form
      className={`${classes.tray} ${classes.whose}`}
      aria-label="Whose is it?"
      onKeyDown={(event) => event.key === 'Escape' && uploads.dismiss()}
      onSubmit={(event) => {
        event.preventDefault()
        setTried(true)
        if (!lacks) uploads.answer(whose)
      }}
    >
      <header className={classes.head}>
        <strong>Whose is it?</strong>
        <CloseButton size="sm" aria-label="Do not upload" onClick={() => uploads.dismiss()} />
      </header>
      <p className="dim">
        {images + pdfs > 0 && !others
          ? `${described(asking)} cannot say it. With a patient and a study, images become DICOM.`
          : `For ${described(asking)}. The patient ID wins over what is in them; a study is for images among them.`}
      </p>
      <TextInput
        size="xs"
        label="Patient ID"
        autoFocus
        autoComplete="off"
        maxLength={64}
        value={whose.patientId}
        onChange={(event) => change({ patientId: event.currentTarget.value })}
      />
      <div className={classes.pair}>
        <TextInput
          size="xs"
          type="date"
          label="Study date"
          value={whose.studyDate}
          onChange={(event) => change({ studyDate: event.currentTarget.value })}
        />
        <TextInput
          size="xs"
          label="Study description"
          placeholder="Of the images"
          maxLength={64}
          value={whose.studyDescription}
          onChange={(event) => change({ studyDescription: event.currentTarget.value })}
        />
      </div>
      {(pdfs > 0 || others > 0) && (
        <Checkbox size="xs" label="Wrap PDFs too" checked={whose.wrapPdf} onChange={(event) => change({ wrapPdf: event.currentTarget.checked })} />
      )}
      {wrong && (
        <p role="alert" className={classes.bad}>
          {wrong}
        </p>
      )}
      <div className={classes.buttons}>
        <Button size="xs" variant="default" onClick={() => uploads.answer(undefined)}>
          Upload as it is
        </Button>
        <Button size="xs" type="submit">
          Upload
        </Button>
      </div>
    </form>
  )
}
