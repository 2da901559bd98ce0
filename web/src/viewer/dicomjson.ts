/** Reading DICOM JSON (PS3.18 Annex F), as `/metadata` gives it. Only what the viewer asks for; the decoder has its own reader. */
export interface Element {
  vr: string
  Value?: unknown[]
  /** Base64, little endian. */
  InlineBinary?: string
}

export type Dataset = Record<string, Element | undefined>

export function first(dataset: Dataset, tag: string): unknown {
  return dataset[tag]?.Value?.[0]
}

export function str(dataset: Dataset, tag: string): string | undefined {
  const value = first(dataset, tag)
  if (typeof value === 'string') return value.trim() || undefined
  if (typeof value === 'number') return String(value)
  return undefined
}

/** A number, also where a server writes IS or DS as text. */
export function num(dataset: Dataset, tag: string): number | undefined {
  return nums(dataset, tag)?.[0]
}

export function nums(dataset: Dataset, tag: string, least = 1): number[] | undefined {
  const values = dataset[tag]?.Value?.map((value) => (typeof value === 'string' && value.trim() === '' ? NaN : Number(value)))
  return values && values.length >= least && values.every(Number.isFinite) ? values : undefined
}

export function strs(dataset: Dataset, tag: string): string[] {
  return (dataset[tag]?.Value ?? []).map((value) => (typeof value === 'string' ? value.trim() : ''))
}

export function items(dataset: Dataset, tag: string): Dataset[] {
  return (dataset[tag]?.Value ?? []).filter((value): value is Dataset => typeof value === 'object' && value !== null)
}

/** A person's name (PN) as people say it: given names, then the family name. */
export function person(dataset: Dataset, tag: string): string | undefined {
  const value = first(dataset, tag)
  if (typeof value !== 'object' || value === null || !('Alphabetic' in value) || typeof value.Alphabetic !== 'string') return undefined
  const [family = '', given = '', middle = ''] = value.Alphabetic.split('^')
  return [given, middle, family].map((part) => part.trim()).filter(Boolean).join(' ') || undefined
}
