/** Names of the modality codes (DICOM PS3.3 C.7.3.1.1.1) that a research archive meets. */
const NAMES: Record<string, string> = {
  AU: 'Audio', BMD: 'Bone densitometry', CR: 'Computed radiography', CT: 'Computed tomography', DOC: 'Document', DX: 'Digital radiography',
  ECG: 'Electrocardiography', EPS: 'Electrophysiology', ES: 'Endoscopy', GM: 'General microscopy', HD: 'Hemodynamic waveform',
  IO: 'Intra-oral radiography', IVUS: 'Intravascular ultrasound', KO: 'Key object selection', MG: 'Mammography', MR: 'Magnetic resonance',
  NM: 'Nuclear medicine', OCT: 'Optical coherence tomography', OP: 'Ophthalmic photography', OPT: 'Ophthalmic tomography', OT: 'Other',
  PR: 'Presentation state', PT: 'Positron emission tomography', PX: 'Panoramic X-ray', REG: 'Registration', RF: 'Radiofluoroscopy',
  RG: 'Radiographic imaging', RTDOSE: 'Radiotherapy dose', RTIMAGE: 'Radiotherapy image', RTPLAN: 'Radiotherapy plan',
  RTRECORD: 'Radiotherapy record', RTSTRUCT: 'Radiotherapy structure set', SC: 'Secondary capture', SEG: 'Segmentation',
  SM: 'Slide microscopy', SR: 'Structured report', US: 'Ultrasound', XA: 'X-ray angiography', XC: 'External camera photography',
}

export function modalityName(code: string): string {
  return NAMES[code] ?? code
}
