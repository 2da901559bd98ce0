/** A row of the CDM that a study may belong to: what it is, what speaks for it and against it, and what can be done with it. */
import { IconCheck, IconX } from '@tabler/icons-react'
import type { ReactNode } from 'react'
import type { Candidate, Trait } from '../api/types'
import type { Kind } from './search'
import { candidateFacts, KIND_NAMES, traitText } from './text'
import classes from './link.module.css'

export function Traits({ traits }: { traits: readonly Trait[] }) {
  const told = traits.map((one) => ({ ...one, text: traitText(one) })).filter(({ text }) => text !== null)
  if (!told.length) return null
  return (
    <ul className={classes.traits}>
      {told.map(({ name, verdict, text }) => (
        <li key={name} data-verdict={verdict}>
          {verdict === 'agrees' ? <IconCheck size={13} aria-hidden /> : <IconX size={13} aria-hidden />}
          <span className="sr-only">{verdict}: </span>
          {text}
        </li>
      ))}
    </ul>
  )
}

export function CandidateLine({ kind, candidate, children }: { kind: Kind; candidate: Candidate; children: ReactNode }) {
  return (
    <li className={classes.candidate} data-testid="candidate">
      <div>
        <span className={classes.facts}>
          <strong>
            {KIND_NAMES[kind]} {candidate.id}
          </strong>
          {candidateFacts(kind, candidate).map((fact) => (
            <span key={fact}>{fact}</span>
          ))}
        </span>
        <Traits traits={candidate.traits} />
      </div>
      <div className={classes.acts}>{children}</div>
    </li>
  )
}
