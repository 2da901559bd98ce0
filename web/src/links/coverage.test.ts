import { expect, it } from 'vitest'
import { coverage, groupOf } from './coverage'

const check = (name: string, count: number) => ({ name, count, text: '', sql: '', good: true })

it('tells shares of what is there, by what is covered or by what lacks', () => {
  expect(coverage([check('studies', 60), check('studies_linked', 52), check('image_occurrences', 90), check('without_anatomic_site', 9)])).toEqual([
    { name: 'Studies tied to a person', whole: 60, part: 52 },
    { name: 'Rows with an anatomic site', whole: 90, part: 81 },
  ])
  expect(coverage([check('series', 5), check('image_occurrences', 7)])).toEqual([{ name: 'Series in image_occurrence', whole: 5, part: 5 }])
  expect(coverage([])).toEqual([])
})

it('tells of mapping tables where there are any', () => {
  expect(coverage([check('person_map', 0), check('person_map_used', 0), check('procedure_map', 4), check('procedure_map_used', 3)])).toEqual([
    { name: 'Procedures mapped and used', whole: 4, part: 3 },
  ])
})

it('puts each check where it belongs', () => {
  const group = (name: string) => groupOf({ name })
  expect(group('person_map_unknown')).toBe('Mapping tables')
  expect(group('studies_by_procedure_map')).toBe('Mapping tables')
  expect(['units_without_concept', 'table_concept_wrong', 'versions_side_by_side', 'occurrences_without_features'].map(group)).toEqual(Array(4).fill('Features'))
  expect(['studies', 'without_modality_concept', 'visit_unknown', 'rows_without_series'].map(group)).toEqual(Array(4).fill('Studies and images'))
})
