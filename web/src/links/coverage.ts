/** What share of the images is tied and mapped, from the figures of the checks. Pure. */
import type { QualityCheck } from '../api/types'

export interface Covered {
  name: string
  part: number
  whole: number
}

// What is covered: of which figure, and the figure itself or the one that lacks.
const SHARES: [name: string, whole: string, part: { is: string } | { lacks: string }][] = [
  ['Studies tied to a person', 'studies', { is: 'studies_linked' }],
  ['Series in image_occurrence', 'series', { is: 'image_occurrences' }],
  ['Rows with an anatomic site', 'image_occurrences', { lacks: 'without_anatomic_site' }],
  ['Rows with a modality concept', 'image_occurrences', { lacks: 'without_modality_concept' }],
  ['Rows within an observation period', 'image_occurrences', { lacks: 'outside_observation' }],
]

/** The shares whose figures are there. Rows that were in an attached CDM before may be more than there are series. */
export function coverage(checks: readonly QualityCheck[]): Covered[] {
  const figure = (name: string) => checks.find((one) => one.name === name)?.count
  return SHARES.flatMap(([name, whole, of]) => {
    const all = figure(whole)
    const told = figure('is' in of ? of.is : of.lacks)
    if (all === undefined || told === undefined) return []
    return [{ name, whole: all, part: Math.min(all, Math.max(0, 'is' in of ? told : all - told)) }]
  })
}
