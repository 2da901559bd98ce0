/** Where instances are sent on to, by which rules, and how far that is. */
import { Button, CloseButton } from '@mantine/core'
import { IconArrowForwardUp, IconPlus } from '@tabler/icons-react'
import { useState } from 'react'
import { api, queryClient, sentence } from '../api/client'
import type { Destination, Rule } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import type { SettingsSearch } from '../settings/search'
import { DestinationForm } from './DestinationForm'
import { DestinationRow } from './DestinationRow'
import { RuleForm } from './RuleForm'
import { RuleRow } from './RuleRow'
import type { Undo } from './undo'
import classes from '../settings/settings.module.css'

interface Props {
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
}

/** What is open in a form: a new one, or one that is there. */
type Editing<T> = T | 'new' | undefined

function Undone({ last, onClose }: { last: Undo; onClose: () => void }) {
  const [error, setError] = useState<unknown>()
  const [busy, setBusy] = useState(false)
  const undo = () => {
    setBusy(true)
    last.undo().then(onClose, setError).finally(() => {
      setBusy(false)
      void queryClient.invalidateQueries()
    })
  }
  return (
    <div className={classes.undo} role="status" data-testid="undo">
      <span>{error ? sentence(error) : last.what}</span>
      <Button size="compact-sm" variant="default" loading={busy} onClick={undo}>
        Undo
      </Button>
      <CloseButton size="sm" aria-label="Dismiss" onClick={onClose} />
    </div>
  )
}

function Nowhere({ onAdd }: { onAdd: () => void }) {
  return (
    <div className={common.empty}>
      <IconArrowForwardUp size={42} stroke={1.4} />
      <h2>Nothing is forwarded</h2>
      <p>Hilum can send what arrives on to other archives. Name one first; then say by a rule what goes there.</p>
      <Button leftSection={<IconPlus size={16} />} onClick={onAdd}>
        Add a destination
      </Button>
    </div>
  )
}

export function Forwarding({ search, onChange }: Props) {
  const [destination, setDestination] = useState<Editing<Destination>>()
  const [rule, setRule] = useState<Editing<Rule>>()
  const [last, setLast] = useState<Undo>()
  const destinations = api.useQuery('get', '/api/v1/imaging/destinations', {}, { refetchInterval: 3000 })
  const rules = api.useQuery('get', '/api/v1/imaging/rules', {}, { refetchInterval: 2000 })
  const error = destinations.error ?? rules.error
  const there = destinations.data ?? []
  if (error && !destinations.data) return <ErrorNotice error={error} title="Forwarding could not be loaded" onRetry={() => void destinations.refetch()} />
  return (
    <>
      {last && <Undone key={last.what} last={last} onClose={() => setLast(undefined)} />}
      {destinations.data && !there.length && <Nowhere onAdd={() => setDestination('new')} />}
      {there.length > 0 && (
        <>
          <section aria-labelledby="destinations" className={classes.section}>
            <header>
              <h2 id="destinations">Destinations</h2>
              <Button size="compact-sm" variant="default" leftSection={<IconPlus size={14} />} onClick={() => setDestination('new')}>
                Add a destination
              </Button>
            </header>
            <ul className={classes.list}>
              {there.map((one) => (
                <DestinationRow key={one.id} destination={one} onEdit={() => setDestination(one)} onUndo={setLast} />
              ))}
            </ul>
          </section>
          <section aria-labelledby="rules" className={classes.section}>
            <header>
              <h2 id="rules">Rules</h2>
              <Button size="compact-sm" variant="default" leftSection={<IconPlus size={14} />} onClick={() => setRule('new')}>
                Add a rule
              </Button>
            </header>
            {rules.data?.length === 0 && <p className={classes.none}>Without a rule nothing is sent. A rule holds for what arrives after it was added.</p>}
            <ul className={classes.list}>
              {rules.data?.map((one) => (
                <RuleRow
                  key={one.id}
                  rule={one}
                  destination={there.find((other) => other.id === one.destination_id)}
                  search={search}
                  onChange={onChange}
                  onEdit={() => setRule(one)}
                  onUndo={setLast}
                />
              ))}
            </ul>
          </section>
        </>
      )}
      {destination && <DestinationForm destination={destination === 'new' ? undefined : destination} onClose={() => setDestination(undefined)} />}
      {rule && <RuleForm rule={rule === 'new' ? undefined : rule} destinations={there} onClose={() => setRule(undefined)} />}
    </>
  )
}
