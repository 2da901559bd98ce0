import { describe, expect, it } from 'vitest'
import { fields, kindsOf, missing, needsWhose } from './whose'

const nobody = { patientId: '', studyDate: '', studyDescription: '', wrapPdf: false }

describe('needsWhose', () => {
  it('asks for images and PDFs, whatever lies about beside them', () => {
    expect(needsWhose(['a/1.JPG', 'a/2.jpeg', 'b.png', 'report.pdf', 'notes.txt', 'a/.DS_Store', 'a/Thumbs.db'])).toBe(true)
  })
  it('asks for nothing where any file may be DICOM', () => {
    for (const name of ['IM0001', 'x.dcm', 'x.ima', '1.2.840.1', 'cd.zip', 'DICOMDIR']) expect(needsWhose(['1.jpg', name])).toBe(false)
  })
  it('does not ask where nothing can become DICOM', () => {
    expect(needsWhose(['notes.txt', '.DS_Store'])).toBe(false)
    expect(needsWhose([])).toBe(false)
  })
})

describe('kindsOf', () => {
  it('counts images, PDFs and the rest, without litter', () => {
    expect(kindsOf(['1.jpg', '2.png', 'a.pdf', 'IM1', 'cd.zip', '.DS_Store'])).toEqual({ images: 2, pdfs: 1, others: 2 })
  })
})

describe('missing', () => {
  const images = { images: 1, pdfs: 0, others: 0 }
  const pdfs = { images: 0, pdfs: 1, others: 0 }
  it('wants a patient', () => {
    expect(missing({ ...nobody, patientId: ' ', studyDate: '2024-05-06' }, images)).toContain('patient ID')
  })
  it('wants a study where images or PDFs become one', () => {
    expect(missing({ ...nobody, patientId: '1' }, images)).toContain('images')
    expect(missing({ ...nobody, patientId: '1', wrapPdf: true }, pdfs)).toContain('PDFs')
    expect(missing({ ...nobody, patientId: '1', studyDescription: 'Wound' }, images)).toBeNull()
    expect(missing({ ...nobody, patientId: '1' }, { images: 0, pdfs: 0, others: 3 })).toBeNull()
  })
})

describe('fields', () => {
  it('sends what was said and nothing else', () => {
    expect(fields(undefined)).toEqual([])
    expect(fields({ ...nobody, patientId: ' 4711 ' })).toEqual([['patient_id', '4711']])
    expect(fields({ patientId: '1', studyDate: '2024-05-06', studyDescription: 'Wound', wrapPdf: true })).toEqual([
      ['patient_id', '1'],
      ['study_date', '2024-05-06'],
      ['study_description', 'Wound'],
      ['wrap_pdf', 'true'],
    ])
  })
})
