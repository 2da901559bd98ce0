/** Links in words, and what may be done to several at once. Pure. */
import type { Candidate, Decision, Link, LinkChange, QueueCount, QueueEntry, Trait } from '../api/types'
import { plural } from '../common/format'
import { type Kind, KINDS } from './search'

export const KIND_NAMES: Record<Kind, string> = { person: 'Person', procedure: 'Procedure', visit: 'Visit' }

const REASONS: Record<string, string> = {
  blank_id: 'No PatientID', shared_id: 'Shared PatientID', no_person: 'Unknown PatientID', several_persons: 'Several persons',
  unknown_person: 'Person not in the CDM', sex_conflict: 'Sex differs', birth_year_conflict: 'Birth year differs',
  accession_of_another: 'Accession of another', no_procedure: 'No procedure', several_procedures: 'Several procedures', unknown_procedure: 'Procedure not in the CDM',
  procedure_of_other_person: 'Procedure of another', no_date: 'No date', no_visit: 'No visit', several_visits: 'Several visits',
  unknown_visit: 'Visit not in the CDM', visit_of_other_person: 'Visit of another', unlinked: 'Must not be linked',
}

/** A reason in two or three words; one that is not known here as it is called. */
export function reasonName(reason: string): string {
  const words = reason.replaceAll('_', ' ')
  return REASONS[reason] ?? words.charAt(0).toUpperCase() + words.slice(1)
}

const METHODS: Record<Link['method'], string> = {
  '': '', by_hand: 'Said by a person', person_map: "By the site's mapping table", person_source_value: 'The PatientID is the person_source_value',
  procedure_map: "By the site's mapping table", procedure_source_value: 'By its number in procedure_source_value',
  same_day: 'The only procedure of that day and modality', minted: 'Made for this study', procedure: 'The visit of its procedure',
  contains: 'The visit during which it was taken', only_of_day: 'The only visit of that day',
}

/** How a link was found. */
export function methodName(method: Link['method']): string {
  return METHODS[method]
}

const TRAITS: Record<Trait['name'], string> = {
  patient_id: 'PatientID', sex: 'Sex', birth_date: 'Birth date', accession_number: 'Accession number', date: 'Day', time: 'Time',
  modality: 'Modality', free: 'Free',
}

/** A trait as a short text; nothing for what is not known. */
export function traitText({ name, verdict, study, candidate }: Trait): string | null {
  if (verdict === 'unknown') return null
  if (name === 'free') return verdict === 'differs' ? candidate.charAt(0).toUpperCase() + candidate.slice(1) : null
  if (verdict === 'agrees') return name === 'patient_id' && candidate.startsWith('in the') ? `PatientID ${candidate}` : TRAITS[name]
  if (name === 'accession_number') return `Accession number ${candidate}`
  return `${TRAITS[name]}: ${candidate}, not ${study}`
}

/** What a candidate is: `Person 1015`, with what the CDM says of it. */
export function candidateFacts(kind: Kind, one: Candidate): string[] {
  if (kind === 'person') {
    const sex = one.gender_concept_id === 8507 ? 'male' : one.gender_concept_id === 8532 ? 'female' : null
    return [one.source_value, sex, one.year_of_birth ? `born ${String(one.year_of_birth)}` : null].filter((fact): fact is string => !!fact)
  }
  const days = one.end_date && one.end_date !== one.start_date ? `${one.start_date ?? ''} to ${one.end_date}` : one.start_date
  return [one.concept_name, days, one.source_value].filter((fact): fact is string => !!fact)
}

/** The candidate that one stroke accepts: the first, if something speaks for it and nothing against it, and no other is as good. */
export function clearest(candidates: readonly Candidate[]): Candidate | undefined {
  const fits = candidates.filter((one) => one.traits.some(agrees) && !one.traits.some(differs))
  return fits.length === 1 ? fits[0] : undefined
}

const agrees = (trait: Trait) => trait.verdict === 'agrees'
const differs = (trait: Trait) => trait.verdict === 'differs'

/** An entry's own name in a list: a study may wait for two things. */
export function keyOf(entry: Pick<QueueEntry, 'study_id' | 'kind'>): string {
  return `${String(entry.study_id)} ${entry.kind}`
}

/** Decisions of several entries, by kind; entries for which `decide` says nothing are left. */
export function gather(entries: readonly QueueEntry[], decide: (entry: QueueEntry) => Decision | undefined): { kind: Kind; decisions: Decision[] }[] {
  return KINDS.map((kind) => ({
    kind,
    decisions: entries.filter((entry) => entry.kind === kind).flatMap((entry) => decide(entry) ?? []),
  })).filter(({ decisions }) => decisions.length > 0)
}

export const accept = (study_id: number, target_id: number): Decision => ({ study_id, action: 'link', target_id })
export const refuse = (study_id: number): Decision => ({ study_id, action: 'refuse', target_id: null })
export const leave = (study_id: number): Decision => ({ study_id, action: 'automatic', target_id: null })

/** What was done, for the line that offers to undo it. */
export function doneText(kind: Kind, decisions: readonly Decision[], name: string): string {
  const [first] = decisions
  const what = decisions.length > 1 ? plural(decisions.length, 'study', 'studies') : name
  if (first?.action === 'refuse') return `${what}: must not be linked to a ${kind}`
  if (first?.action === 'automatic') return `${what}: the rules decide about the ${kind}`
  const targets = new Set(decisions.map((one) => one.target_id))
  return targets.size === 1 ? `${what}: ${kind} ${String(first?.target_id)}` : `${what}: each its ${kind}`
}

/** A decision of the past as a sentence. */
export function changeText({ kind, action, before, after }: Pick<LinkChange, 'kind' | 'action' | 'before' | 'after'>): string {
  const was = before === null ? '' : `, was ${String(before)}`
  if (action === 'link') return `${KIND_NAMES[kind]} ${String(after)}${was}`
  if (action === 'unlink') return `No ${kind}${was}`
  return `${KIND_NAMES[kind]} as the rules say${was}`
}

export interface Group {
  kind: Kind
  studies: number
  reasons: QueueCount[]
}

/** What waits by kind; refused ones are no work and are left out, or all there is. */
export function groups(counts: readonly QueueCount[], refused: boolean): Group[] {
  return KINDS.map((kind) => {
    const reasons = counts.filter((one) => one.kind === kind && (one.reason === 'unlinked') === refused)
    return { kind, reasons, studies: reasons.reduce((sum, one) => sum + one.studies, 0) }
  }).filter(({ studies }) => studies > 0)
}

/** SQL in lines that can be read: each clause begins one. */
export function sqlLines(sql: string): string {
  let depth = 0
  return sql
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\(|\)|\b(?:left join|join|from|where|and|group by|order by|union all|union)\b/g, (word) => {
      if (word === '(') depth += 1
      else if (word === ')') depth -= 1
      else return depth === 0 ? `\n${word === 'and' ? '  ' : ''}${word}` : word
      return word
    })
    .replace(/ +\n/g, '\n')
}
