/** Whose an upload is, where its files cannot say it: when a person is asked, and how the answer is sent. */

export interface Whose {
  patientId: string
  /** YYYY-MM-DD; of the study that images become. */
  studyDate: string
  studyDescription: string
  wrapPdf: boolean
}

/** What a list of files holds, by their names. */
export interface Kinds {
  images: number
  pdfs: number
  /** Neither: DICOM under whatever name, zips, notes. */
  others: number
}

const IMAGE = /\.(jpe?g|png)$/i
const PDF = /\.pdf$/i
/** What a desktop leaves in every folder. */
const LITTER = /(^|\/)(\.[^/]*|thumbs\.db|desktop\.ini)$/i
/** Beside pictures these mean nothing; they are no reason to take a folder for DICOM. */
const NOTES = /\.(txt|csv|json|xml|html?|docx?|odt|rtf|gif|bmp|webp)$/i

export function kindsOf(paths: readonly string[]): Kinds {
  const seen = paths.filter((path) => !LITTER.test(path))
  const images = seen.filter((path) => IMAGE.test(path)).length
  const pdfs = seen.filter((path) => PDF.test(path)).length
  return { images, pdfs, others: seen.length - images - pdfs }
}

/** Whether nothing among the files looks like DICOM, and something can become it. DICOM has any name or none: in doubt it is one. */
export function needsWhose(paths: readonly string[]): boolean {
  const { images, pdfs } = kindsOf(paths)
  return images + pdfs > 0 && paths.every((path) => LITTER.test(path) || IMAGE.test(path) || PDF.test(path) || NOTES.test(path))
}

/** What is still missing, as a sentence; null when it can be sent. */
export function missing({ patientId, studyDate, studyDescription, wrapPdf }: Whose, { images }: Kinds): string | null {
  const study = Boolean(studyDate || studyDescription.trim())
  if (!patientId.trim()) return 'Give the patient ID.'
  if (!study && wrapPdf) return 'Give the date or a description of the study that the PDFs become.'
  if (!study && images) return 'Give the date or a description of the study that the images become.'
  return null
}

/** The fields of the request; what was left empty is not sent. */
export function fields(whose: Whose | undefined): [string, string][] {
  if (!whose) return []
  const all: [string, string][] = [
    ['patient_id', whose.patientId.trim()],
    ['study_date', whose.studyDate],
    ['study_description', whose.studyDescription.trim()],
    ['wrap_pdf', whose.wrapPdf ? 'true' : ''],
  ]
  return all.filter(([, value]) => value)
}
