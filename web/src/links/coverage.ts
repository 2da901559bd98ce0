/** What share of the images is tied and mapped, from the figures of the checks, and the checks by what they are about. Pure. */
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
  ['Rows with features', 'image_occurrences', { lacks: 'occurrences_without_features' }],
  ['Features with a concept', 'image_features', { lacks: 'features_without_concept' }],
]
// Mapping tables that there are: how many of their lines tie a study.
const MAPS: [name: string, whole: string, part: string][] = [
  ['Persons mapped and used', 'person_map', 'person_map_used'],
  ['Procedures mapped and used', 'procedure_map', 'procedure_map_used'],
]

/** The shares whose figures are there. Rows that were in an attached CDM before may be more than there are series. */
export function coverage(checks: readonly QualityCheck[]): Covered[] {
  const figure = (name: string) => checks.find((one) => one.name === name)?.count
  const shares = SHARES.flatMap(([name, whole, of]) => {
    const all = figure(whole)
    const told = figure('is' in of ? of.is : of.lacks)
    if (all === undefined || told === undefined) return []
    return [{ name, whole: all, part: Math.min(all, Math.max(0, 'is' in of ? told : all - told)) }]
  })
  const maps = MAPS.flatMap(([name, whole, part]) => {
    const all = figure(whole)
    return all ? [{ name, whole: all, part: figure(part) ?? 0 }] : []
  })
  return [...shares, ...maps]
}

export const GROUPS = ['Studies and images', 'Features', 'Mapping tables'] as const
type Group = (typeof GROUPS)[number]

/** What a check is about, by its name. */
export function groupOf({ name }: Pick<QualityCheck, 'name'>): Group {
  if (/_map(_|$)/.test(name)) return 'Mapping tables'
  return /feature|finding|unit|value|version|table_concept/.test(name) ? 'Features' : 'Studies and images'
}
