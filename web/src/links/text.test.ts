import { describe, expect, it } from 'vitest'
import type { Candidate, QueueCount, QueueEntry, Trait } from '../api/types'
import { linksSearch } from './search'
import { accept, candidateFacts, changeText, clearest, doneText, gather, groups, keyOf, reasonName, refuse, sqlLines, traitText } from './text'

const trait = (name: Trait['name'], verdict: Trait['verdict'], study = '', candidate = ''): Trait => ({ name, verdict, study, candidate })
const candidate = (id: number, ...traits: Trait[]): Candidate => ({ id, source_value: '', traits })
const entry = (study_id: number, kind: QueueEntry['kind'], candidates: Candidate[]) => ({ study_id, kind, candidates }) as unknown as QueueEntry

describe('links', () => {
  it('reads its state from the URL, and a reason only with its kind', () => {
    expect(linksSearch({ kind: 'person', reason: 'no_person', page: '2', source: 'north' })).toEqual({
      kind: 'person', reason: 'no_person', page: 2, source: 'north',
    })
    expect(linksSearch({ kind: 'dog', reason: 'no_person', page: '1', view: 'elsewhere' })).toEqual({})
    expect(linksSearch({ view: 'quality' })).toEqual({ view: 'quality' })
  })
  it('names reasons, also ones that came later', () => {
    expect(reasonName('no_person')).toBe('Unknown PatientID')
    expect(reasonName('accession_of_another')).toBe('Accession of another')
    expect(reasonName('lost_in_the_post')).toBe('Lost in the post')
  })
  it('tells what agrees and what differs, and is silent about what is not known', () => {
    expect(traitText(trait('sex', 'agrees', 'F', 'F'))).toBe('Sex')
    expect(traitText(trait('sex', 'differs', 'M', 'F'))).toBe('Sex: F, not M')
    expect(traitText(trait('birth_date', 'unknown'))).toBeNull()
    expect(traitText(trait('accession_number', 'differs', 'A1', 'on a procedure of 7'))).toBe('Accession number on a procedure of 7')
    expect(traitText(trait('patient_id', 'agrees', 'A', 'in the mapping table'))).toBe('PatientID in the mapping table')
    expect(traitText(trait('free', 'differs', '', '1 other study is tied to it'))).toBe('1 other study is tied to it')
    expect(traitText(trait('free', 'agrees'))).toBeNull()
  })
  it('accepts by one stroke only what is clear', () => {
    const good = candidate(1, trait('sex', 'agrees'), trait('birth_date', 'unknown'))
    const bad = candidate(2, trait('sex', 'agrees'), trait('birth_date', 'differs'))
    expect(clearest([good, bad])?.id).toBe(1)
    expect(clearest([bad])).toBeUndefined()
    expect(clearest([good, { ...good, id: 3 }])).toBeUndefined()
    expect(clearest([candidate(4, trait('sex', 'unknown'))])).toBeUndefined()
    expect(clearest([])).toBeUndefined()
  })
  it('says what a candidate is', () => {
    expect(candidateFacts('person', { id: 1, source_value: 'P1', traits: [], gender_concept_id: 8532, year_of_birth: 1970 })).toEqual([
      'P1', 'female', 'born 1970',
    ])
    expect(candidateFacts('visit', { id: 1, source_value: '', traits: [], concept_name: 'Inpatient Visit', start_date: '2024-01-30', end_date: '2024-02-02' })).toEqual([
      'Inpatient Visit', '2024-01-30 to 2024-02-02',
    ])
  })
  it('gathers decisions by kind and leaves what has none', () => {
    const one = entry(1, 'person', [candidate(7, trait('sex', 'agrees'))])
    const two = entry(1, 'visit', [])
    const gathered = gather([two, one], ({ study_id, candidates }) => {
      const best = clearest(candidates)
      return best && accept(study_id, best.id)
    })
    expect(gathered).toEqual([{ kind: 'person', decisions: [accept(1, 7)] }])
    expect(gather([two, one], ({ study_id }) => refuse(study_id)).map(({ kind }) => kind)).toEqual(['person', 'visit'])
    expect(keyOf(one)).not.toBe(keyOf(two))
  })
  it('says what was done', () => {
    expect(doneText('person', [accept(1, 7)], 'CT chest')).toBe('CT chest: person 7')
    expect(doneText('person', [accept(1, 7), accept(2, 7)], 'CT chest')).toBe('2 studies: person 7')
    expect(doneText('visit', [accept(1, 7), accept(2, 8)], 'CT chest')).toBe('2 studies: each its visit')
    expect(doneText('visit', [refuse(1)], 'CT chest')).toBe('CT chest: must not be linked to a visit')
    expect(changeText({ kind: 'person', action: 'link', before: 3, after: 7 })).toBe('Person 7, was 3')
    expect(changeText({ kind: 'visit', action: 'unlink', before: null, after: null })).toBe('No visit')
    expect(changeText({ kind: 'visit', action: 'automatic', before: 4, after: null })).toBe('Visit as the rules say, was 4')
  })
  it('counts what waits without what was refused', () => {
    const count = (kind: QueueCount['kind'], reason: string, studies: number): QueueCount => ({ kind, reason, studies, text: '' })
    const counts = [count('visit', 'no_visit', 3), count('person', 'unlinked', 2), count('person', 'no_person', 1), count('person', 'blank_id', 4)]
    expect(groups(counts, false).map(({ kind, studies }) => [kind, studies])).toEqual([['person', 5], ['visit', 3]])
    expect(groups(counts, true).map(({ kind, studies }) => [kind, studies])).toEqual([['person', 2]])
  })
  it('breaks SQL at its clauses, not within brackets', () => {
    expect(sqlLines('select count(*) from a  where b = 1 and not exists (select from c where d)')).toBe(
      'select count(*)\nfrom a\nwhere b = 1\n  and not exists (select from c where d)',
    )
  })
})
