/** Look for the person, procedure or visit of a study by id, or by how its source value begins. */
import { Button, Modal, Skeleton, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { IconSearch } from '@tabler/icons-react'
import { useState } from 'react'
import { api } from '../api/client'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import { useDecide } from './act'
import { CandidateLine } from './CandidateLine'
import type { Kind } from './search'
import { accept, doneText } from './text'
import classes from './link.module.css'

const PAUSE_MS = 250
const HINTS: Record<Kind, string> = {
  person: 'person_id, or how person_source_value begins',
  procedure: 'procedure_occurrence_id, or how its source value begins',
  visit: 'visit_occurrence_id, or how its source value begins',
}

interface Props {
  study: number
  kind: Kind
  /** Of the study, for what is said of it afterwards. */
  name: string
  start?: string
  onClose: () => void
}

export function Choose({ study, kind, name, start = '', onClose }: Props) {
  const [words, setWords] = useState(start)
  const [asked] = useDebouncedValue(words, PAUSE_MS)
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/links/candidates', { params: { query: { study, kind, q: asked.trim() } } })
  const decide = useDecide()
  const take = (target: number) => {
    const decisions = [accept(study, target)]
    decide.mutate({ what: doneText(kind, decisions, name), decisions: [{ kind, decisions, alike: false }] }, { onSuccess: onClose })
  }
  const only = data?.length === 1 && asked === words ? data[0] : undefined
  return (
    <Modal opened onClose={onClose} title={`Choose the ${kind} of ${name}`} size={640} centered>
      <form
        className={classes.choose}
        onSubmit={(event) => {
          event.preventDefault()
          if (only) take(only.id)
        }}
      >
        <TextInput
          aria-label={`Search for a ${kind}`}
          placeholder={HINTS[kind]}
          leftSection={<IconSearch size={15} />}
          data-autofocus
          autoComplete="off"
          maxLength={200}
          value={words}
          onChange={(event) => setWords(event.currentTarget.value)}
        />
        <Failed error={decide.error} />
        {error && <ErrorNotice error={error} title="They could not be looked for" onRetry={() => void refetch()} />}
        {!data && !error && <Skeleton height={90} />}
        {data?.length === 0 && <p className="dim">{asked.trim() ? `The CDM has no such ${kind}${kind === 'person' ? '' : ' of this person'}.` : `Type to look for a ${kind}.`}</p>}
        <ul className={classes.candidates} aria-label={`What was found`}>
          {data?.map((one) => (
            <CandidateLine key={one.id} kind={kind} candidate={one}>
              <Button size="compact-sm" variant="default" disabled={decide.isPending} onClick={() => take(one.id)}>
                Choose
              </Button>
            </CandidateLine>
          ))}
        </ul>
      </form>
    </Modal>
  )
}
