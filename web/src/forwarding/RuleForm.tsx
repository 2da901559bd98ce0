/** Say what goes where: a rule, read back as a sentence while it is made. */
import { ActionIcon, Button, Modal, NumberInput, Radio, Select, TagsInput, TextInput } from '@mantine/core'
import { IconPlus, IconX } from '@tabler/icons-react'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Destination, Rule, RuleIn } from '../api/types'
import { asSentence } from './text'
import { FormFoot } from '../settings/FormFoot'
import classes from '../settings/settings.module.css'

type Conditions = NonNullable<RuleIn['conditions']>

const NOTHING: Conditions = { sources: [], modalities: [], senders: [], station_names: [], patterns: [] }
const MODALITIES = ['CR', 'CT', 'DX', 'IVOCT', 'MG', 'MR', 'NM', 'OT', 'PT', 'RF', 'SM', 'SR', 'US', 'XA']

function Patterns({ patterns, onChange }: { patterns: Conditions['patterns']; onChange: (patterns: Conditions['patterns']) => void }) {
  const found = patterns ?? []
  const set = (n: number, part: Partial<(typeof found)[number]>) => onChange(found.map((one, at) => (at === n ? { ...one, ...part } : one)))
  return (
    <fieldset className={classes.patterns}>
      <legend>Any attribute, by a regular expression</legend>
      {found.map((one, n) => (
        <div key={n} className={classes.pattern}>
          <TextInput aria-label="Attribute" placeholder="StudyDescription" required value={one.attribute} onChange={(e) => set(n, { attribute: e.currentTarget.value })} />
          <TextInput aria-label="Expression" placeholder="(?i)chest" required maxLength={500} value={one.pattern} onChange={(e) => set(n, { pattern: e.currentTarget.value })} />
          <ActionIcon variant="default" size={34} aria-label="Remove this expression" onClick={() => onChange(found.filter((_, at) => at !== n))}>
            <IconX size={15} />
          </ActionIcon>
        </div>
      ))}
      <Button size="compact-sm" variant="default" leftSection={<IconPlus size={14} />} onClick={() => onChange([...found, { attribute: '', pattern: '' }])}>
        Add an expression
      </Button>
    </fieldset>
  )
}

export function RuleForm({ rule, destinations, onClose }: { rule: Rule | undefined; destinations: Destination[]; onClose: () => void }) {
  const [name, setName] = useState(rule?.name ?? '')
  const [to, setTo] = useState(rule?.destination_id ?? destinations[0]?.id ?? 0)
  const [when, setWhen] = useState<Rule['when']>(rule?.when ?? 'instance')
  const [priority, setPriority] = useState(rule?.priority ?? 0)
  const [conditions, setConditions] = useState<Conditions>(rule?.conditions ?? NOTHING)
  const sources = api.useQuery('get', '/api/v1/imaging/sources', {}, { staleTime: 60_000 })
  const add = api.useMutation('post', '/api/v1/imaging/rules')
  const patch = api.useMutation('patch', '/api/v1/imaging/rules/{rule}')
  const set = (part: Partial<Conditions>) => setConditions({ ...conditions, ...part })
  const done = { onSuccess: () => void queryClient.invalidateQueries().then(onClose) }
  const body = { name, destination_id: to, when, conditions, priority }
  const save = () => {
    if (rule) patch.mutate({ params: { path: { rule: rule.id } }, body }, done)
    else add.mutate({ body: { ...body, active: true } }, done)
  }
  const lists = [
    ['Modality', 'modalities', 'Any', MODALITIES],
    ['Source', 'sources', 'Any', sources.data?.map((one) => one.key) ?? []],
    ['Sender', 'senders', 'Calling AE title or address', []],
    ['Station', 'station_names', 'Any', []],
  ] as const
  return (
    <Modal opened onClose={onClose} title={rule ? `Edit ${rule.name}` : 'Add a rule'} size={600} centered>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <div className={classes.pair}>
          <TextInput label="Name" required maxLength={100} data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} />
          <Select
            label="Destination"
            allowDeselect={false}
            data={destinations.map((one) => ({ value: String(one.id), label: one.name }))}
            value={String(to)}
            onChange={(id) => setTo(Number(id))}
          />
        </div>
        <Radio.Group label="What it sends" value={when} onChange={(value) => setWhen(value === 'study' ? 'study' : 'instance')}>
          <div className={classes.radios}>
            <Radio value="instance" label="Each instance, as it arrives" />
            <Radio value="study" label="Each study, once it is complete" />
          </div>
        </Radio.Group>
        <div className={classes.pair}>
          {lists.map(([label, field, hint, data]) => (
            <TagsInput
              key={field}
              label={label}
              placeholder={conditions[field]?.length ? '' : hint}
              data={[...data]}
              value={conditions[field] ?? []}
              onChange={(values) => set({ [field]: values })}
              acceptValueOnBlur
            />
          ))}
        </div>
        <Patterns patterns={conditions.patterns} onChange={(patterns) => set({ patterns })} />
        <NumberInput
          label="Priority"
          description="What is queued by a rule of higher priority goes first."
          min={-1000}
          max={1000}
          value={priority}
          onChange={(n) => setPriority(Number(n))}
        />
        <p className={classes.sentence} data-testid="sentence">
          {asSentence({ when, conditions }, destinations.find((one) => one.id === to)?.name ?? 'its destination')}
        </p>
        <FormFoot error={add.error ?? patch.error} busy={add.isPending || patch.isPending} label={rule ? 'Save' : 'Add'} onClose={onClose} />
      </form>
    </Modal>
  )
}
