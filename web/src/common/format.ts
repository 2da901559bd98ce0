/** Values as people read them. Pure; every function takes null for "not known" and answers an en dash or nothing. */

export const NONE = '–'

const integer = new Intl.NumberFormat('en-US')

export function count(n: number | null | undefined): string {
  return n == null ? NONE : integer.format(n)
}

/** `3 images`, `1 image`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${integer.format(n)} ${n === 1 ? one : many}`
}

/** Bytes with a decimal unit, as disks and networks count. */
export function bytes(n: number | null | undefined): string {
  if (n == null) return NONE
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']
  let value = n
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : 1
  return `${value.toFixed(digits)} ${units[unit] ?? ''}`
}

/** A DICOM or ISO date as `2026-09-14`; anything else as it stands. */
export function date(value: string | null | undefined): string {
  if (!value) return NONE
  const dicom = /^(\d{4})(\d{2})(\d{2})$/.exec(value)
  if (dicom) return `${dicom[1] ?? ''}-${dicom[2] ?? ''}-${dicom[3] ?? ''}`
  return value.slice(0, 10)
}

/** A DICOM or ISO time of day as `10:15`. */
export function time(value: string | null | undefined): string {
  if (!value) return ''
  const parts = /^(\d{2}):?(\d{2})/.exec(value)
  return parts ? `${parts[1] ?? ''}:${parts[2] ?? ''}` : value
}

/** A moment, in the reader's own time zone, to the second. */
export function moment(value: string | null | undefined): string {
  if (!value) return NONE
  const at = new Date(value)
  if (Number.isNaN(at.getTime())) return value
  const two = (n: number) => String(n).padStart(2, '0')
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** How long ago: `just now`, `4 min ago`, `3 h ago`, then the date. */
export function ago(value: string | null | undefined, now = Date.now()): string {
  if (!value) return NONE
  const at = new Date(value).getTime()
  if (Number.isNaN(at)) return value
  const seconds = Math.round((now - at) / 1000)
  if (seconds < 45) return 'just now'
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`
  if (seconds < 86_400) return `${Math.round(seconds / 3600)} h ago`
  return date(new Date(at).toISOString())
}

/** A duration of milliseconds: `0.8 s`, `2 min 5 s`, `1 h 3 min`. */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** `1961-04-02` and a study date give `65 y`, or months and days for the young. */
export function age(birth: string | null | undefined, at: string | null | undefined): string | null {
  const born = new Date(date(birth))
  const then = new Date(date(at))
  if (Number.isNaN(born.getTime()) || Number.isNaN(then.getTime()) || then < born) return null
  let months = (then.getUTCFullYear() - born.getUTCFullYear()) * 12 + then.getUTCMonth() - born.getUTCMonth()
  if (then.getUTCDate() < born.getUTCDate()) months -= 1
  if (months >= 24) return `${Math.floor(months / 12)} y`
  if (months >= 2) return `${months} mo`
  return `${Math.round((then.getTime() - born.getTime()) / 86_400_000)} d`
}

const SYNTAXES: Record<string, string> = {
  '1.2.840.10008.1.2': 'Implicit VR LE',
  '1.2.840.10008.1.2.1': 'Explicit VR LE',
  '1.2.840.10008.1.2.1.99': 'Deflated LE',
  '1.2.840.10008.1.2.2': 'Explicit VR BE',
  '1.2.840.10008.1.2.4.50': 'JPEG Baseline',
  '1.2.840.10008.1.2.4.51': 'JPEG Extended',
  '1.2.840.10008.1.2.4.57': 'JPEG Lossless',
  '1.2.840.10008.1.2.4.70': 'JPEG Lossless SV1',
  '1.2.840.10008.1.2.4.80': 'JPEG-LS',
  '1.2.840.10008.1.2.4.81': 'JPEG-LS near-lossless',
  '1.2.840.10008.1.2.4.90': 'JPEG 2000 lossless',
  '1.2.840.10008.1.2.4.91': 'JPEG 2000',
  '1.2.840.10008.1.2.4.110': 'JPEG XL lossless',
  '1.2.840.10008.1.2.4.111': 'JPEG XL recompression',
  '1.2.840.10008.1.2.4.112': 'JPEG XL',
  '1.2.840.10008.1.2.4.201': 'HTJ2K lossless',
  '1.2.840.10008.1.2.4.202': 'HTJ2K lossless RPCL',
  '1.2.840.10008.1.2.4.203': 'HTJ2K',
  '1.2.840.10008.1.2.5': 'RLE',
}

/** The usual name of a transfer syntax, or its UID. */
export function transferSyntax(uid: string | null | undefined): string {
  return uid ? (SYNTAXES[uid] ?? uid) : NONE
}

const ORIGINS: Record<string, string> = {
  import: 'Import', upload: 'Upload', stow: 'DICOMweb', remote: 'Remote archive', inbox: 'Watched folder', conflict: 'Settled conflict',
}

/** The way that something came in, in a reader's words. */
export function origin(code: string): string {
  return ORIGINS[code] ?? code
}
