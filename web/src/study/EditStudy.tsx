/** Correct what a study's files say: four fields, what they were corrected to elsewhere, and every change so far with its way back. */
import { Anchor, Button, Modal, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { StudyDetail } from '../api/types'
import { Failed } from '../common/Failed'
import { moment } from '../common/format'
import classes from './study.module.css'

const FIELDS = [
  ['study_description', 'Description', 64],
  ['modality', 'Modality', 16],
  ['body_part', 'Body part', 16],
  ['accession_number', 'Accession number', 16],
] as const

type Field = (typeof FIELDS)[number][0]
const LABELS: Record<string, string> = Object.fromEntries(FIELDS.map(([field, label]) => [field, label]))

export function EditStudy({ study, onClose }: { study: StudyDetail; onClose: () => void }) {
  const path = { study: String(study.id) }
  const [values, setValues] = useState<Partial<Record<Field, string>>>({})
  const suggestions = api.useQuery('get', '/api/v1/imaging/studies/{study}/suggestions', { params: { path } })
  const history = api.useQuery('get', '/api/v1/imaging/studies/{study}/corrections', { params: { path } })
  const save = api.useMutation('patch', '/api/v1/imaging/studies/{study}')
  const undo = api.useMutation('post', '/api/v1/imaging/studies/{study}/corrections/{correction}/undo')
  const settled = () => queryClient.invalidateQueries()
  const changed = Object.fromEntries(Object.entries(values).filter(([field, value]) => value !== study[field as Field]))
  const latest = new Set<number>()
  const seen = new Set<string>()
  for (const one of history.data ?? []) {
    if (!seen.has(one.field)) latest.add(one.id)
    seen.add(one.field)
  }
  const failed = save.error ?? undo.error
  return (
    <Modal opened onClose={onClose} title="Edit the study" size={520} centered>
      <form
        className={classes.edit}
        onSubmit={(event) => {
          event.preventDefault()
          save.mutate({ params: { path }, body: changed }, { onSuccess: () => void settled().then(onClose) })
        }}
      >
        {FIELDS.map(([field, label, most]) => (
          <div key={field}>
            <TextInput
              label={label}
              value={values[field] ?? study[field]}
              maxLength={most}
              description={study.corrected[field] && `The files say ${study.corrected[field].file || 'nothing'}.`}
              onChange={(event) => setValues({ ...values, [field]: event.currentTarget.value })}
            />
            {suggestions.data
              ?.filter((one) => one.field === field && (values[field] ?? study[field]) === one.value)
              .slice(0, 2)
              .map((one) => (
                <Anchor key={one.suggested} component="button" type="button" size="xs" onClick={() => setValues({ ...values, [field]: one.suggested })}>
                  Use {one.suggested || 'nothing'}, as {one.times_used === 1 ? 'once' : `${one.times_used} times`} before
                </Anchor>
              ))}
          </div>
        ))}
        <Failed error={failed} />
        <div className={classes.buttons}>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" disabled={!Object.keys(changed).length} loading={save.isPending}>
            Save
          </Button>
        </div>
      </form>
      {(history.data?.length ?? 0) > 0 && (
        <section aria-label="Changes" className={classes.changes}>
          <h2>Changes</h2>
          <ul>
            {history.data?.map((one) => (
              <li key={one.id} data-testid="correction">
                <span>
                  <strong>{LABELS[one.field]}</strong> {one.old || 'empty'} → {one.new || 'empty'}
                  <small className="dim">
                    {one.undoes ? 'undone ' : ''}by {one.who}, {moment(one.when)}
                  </small>
                </span>
                {latest.has(one.id) && (
                  <Button
                    size="compact-xs"
                    variant="default"
                    loading={undo.isPending}
                    onClick={() => {
                      setValues({})
                      undo.mutate({ params: { path: { ...path, correction: one.id } } }, { onSuccess: () => void settled() })
                    }}
                  >
                    Undo
                  </Button>
                )}
              </li>
            ))}
          </ul>
        </section>
      )}
    </Modal>
  )
}
