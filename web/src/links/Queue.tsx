/** What waits for a person's decision, by reason; worked through by mouse or keyboard. */
import { Button, Select } from '@mantine/core'
import { IconLinkOff, IconMoodCheck } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { api } from '../api/client'
import type { Decision, LinkSource, QueueEntry } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import common from '../common/common.module.css'
import { count, plural } from '../common/format'
import { Pager } from '../common/Pager'
import { useKeys } from '../common/useKeys'
import { useDecide, useDone, useUndo } from './act'
import { Choose } from './Choose'
import { type Acts, Entry } from './Entry'
import { type Kind, type LinksSearch, PAGE_SIZE } from './search'
import { Sources } from './Sources'
import { accept, clearest, doneText, gather, type Group, groups, KIND_NAMES, keyOf, leave, reasonName, refuse } from './text'
import classes from './queue.module.css'

interface Props {
  refused: boolean
  sources: LinkSource[]
  search: LinksSearch
  onChange: (part: Partial<LinksSearch>) => void
}

const nameOf = (entry: QueueEntry) => entry.study_description || 'The study'

function Reasons({ found, search, onChange }: { found: Group[] } & Pick<Props, 'search' | 'onChange'>) {
  const choose = (kind?: Kind, reason?: string) => onChange({ kind, reason, page: undefined })
  const all = found.reduce((sum, one) => sum + one.studies, 0)
  const line = (label: string, studies: number, kind?: Kind, reason?: string) => (
    <button type="button" key={label} aria-pressed={search.kind === kind && search.reason === reason} data-level={reason ? 2 : 1} onClick={() => choose(kind, reason)}>
      <span>{label}</span> <span>{count(studies)}</span>
    </button>
  )
  return (
    <nav className={classes.reasons} aria-label="Reasons">
      {line('Everything', all)}
      {found.map(({ kind, studies, reasons }) => (
        <div key={kind}>
          {line(KIND_NAMES[kind], studies, kind)}
          {reasons.map((one) => line(reasonName(one.reason), one.studies, kind, one.reason))}
        </div>
      ))}
    </nav>
  )
}

/** The same on a narrow window. */
function ReasonSelect({ found, search, onChange }: { found: Group[] } & Pick<Props, 'search' | 'onChange'>) {
  const data = found.map(({ kind, studies, reasons }) => ({
    group: KIND_NAMES[kind],
    items: [
      { value: kind, label: `Every reason (${count(studies)})` },
      ...reasons.map((one) => ({ value: `${kind} ${one.reason}`, label: `${reasonName(one.reason)} (${count(one.studies)})` })),
    ],
  }))
  const choose = (value: string | null) => {
    const [kind, reason] = value?.split(' ') ?? []
    onChange({ kind: found.find((one) => one.kind === kind)?.kind, reason, page: undefined })
  }
  return (
    <Select
      className={classes.narrow}
      size="xs"
      aria-label="Reason"
      placeholder="Everything"
      clearable
      data={data}
      value={search.kind ? [search.kind, search.reason].filter(Boolean).join(' ') : null}
      onChange={choose}
    />
  )
}

function Nothing({ refused, filtered }: { refused: boolean; filtered: boolean }) {
  if (refused)
    return (
      <div className={common.empty}>
        <IconLinkOff size={42} stroke={1.4} />
        <h2>Nothing was refused</h2>
        <p>A study that must not be tied to a person, procedure or visit stands here, with the way back.</p>
      </div>
    )
  return (
    <div className={common.empty}>
      <IconMoodCheck size={42} stroke={1.4} />
      <h2>{filtered ? 'Nothing waits for this reason' : 'Everything is linked'}</h2>
      <p>Studies whose person, procedure or visit the rules cannot tell for certain wait here until somebody decides.</p>
    </div>
  )
}

export function Queue({ refused, sources, search, onChange }: Props) {
  const page = search.page ?? 1
  const [at, setAt] = useState(0)
  const byKey = useRef(false)
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const [looking, setLooking] = useState<{ entry: QueueEntry; kind: Kind; start: string }>()
  const of = search.source ? { source: search.source } : {}
  const narrowed = { ...(search.kind ? { kind: search.kind } : {}), ...(search.reason ? { reason: search.reason } : {}) }
  const counts = api.useQuery('get', '/api/v1/imaging/links/queue/counts', { params: { query: of } }, { placeholderData: keepPreviousData, refetchInterval: 15_000 })
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/links/queue',
    { params: { query: { ...of, ...narrowed, refused, limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } },
    { placeholderData: keepPreviousData, refetchInterval: 15_000 },
  )
  const decide = useDecide()
  const undo = useUndo()
  const done = useDone()
  const entries = data?.items ?? []
  const place = Math.min(at, Math.max(entries.length - 1, 0))
  const current = entries[place]
  const selected = entries.filter((entry) => chosen.has(keyOf(entry)))

  const act = (what: string, decisions: { kind: Kind; decisions: Decision[] }[], alike = false) => {
    if (decide.isPending) return
    setChosen(new Set())
    decide.mutate({ what, decisions: decisions.map((one) => ({ ...one, alike })) })
  }
  const one = (entry: QueueEntry, decision: Decision) => act(doneText(entry.kind, [decision], nameOf(entry)), [{ kind: entry.kind, decisions: [decision] }])
  const acts: Acts = {
    onAccept: (entry, target, alike) => {
      const decision = accept(entry.study_id, target)
      if (!alike) one(entry, decision)
      else act(`${plural(entry.alike, 'study', 'studies')} of ${entry.patient_id}: person ${String(target)}`, [{ kind: entry.kind, decisions: [decision] }], true)
    },
    onRefuse: (entry) => one(entry, refuse(entry.study_id)),
    onLeave: (entry) => one(entry, leave(entry.study_id)),
    onChoose: (entry, kind = entry.kind, start = '') => setLooking({ entry, kind, start }),
  }
  const several = (entriesOf: QueueEntry[], choose: (entry: QueueEntry) => Decision | undefined) => {
    const gathered = gather(entriesOf, choose)
    const what = gathered.map(({ kind, decisions }) => doneText(kind, decisions, nameOf(entriesOf[0] as QueueEntry))).join('; ')
    if (gathered.length) act(what, gathered)
  }
  const best = (entry: QueueEntry) => {
    const found = clearest(entry.candidates)
    return found && accept(entry.study_id, found.id)
  }
  const clear = selected.filter((entry) => best(entry))
  const select = (entry: QueueEntry, wanted: boolean) => {
    const next = new Set(chosen)
    if (wanted) next.add(keyOf(entry))
    else next.delete(keyOf(entry))
    setChosen(next)
  }
  const enter = () => {
    if (!current) return
    const decision = best(current)
    if (decision) one(current, decision)
    // Something speaks against it: a person shall look, and press once more.
    else document.querySelector<HTMLElement>('[data-current] [data-first]')?.focus()
  }
  const step = (by: number) => {
    byKey.current = true
    setAt(Math.min(Math.max(place + by, 0), Math.max(entries.length - 1, 0)))
  }
  useEffect(() => {
    // Not when it is the mouse that chose: what it presses must not move away.
    if (byKey.current) document.querySelector('[data-current]')?.scrollIntoView({ block: 'nearest' })
    byKey.current = false
  }, [place])
  useKeys(
    {
      j: () => step(1),
      k: () => step(-1),
      Enter: enter,
      r: () => current && !refused && acts.onRefuse(current),
      c: () => current && acts.onChoose(current),
      x: () => current && select(current, !chosen.has(keyOf(current))),
      u: () => {
        if (done.length && !undo.isPending) undo.mutate()
      },
    },
    !looking,
  )

  const pages = Math.ceil((data?.total ?? 0) / PAGE_SIZE)
  useEffect(() => {
    // The last of the last page was decided.
    if (pages && page > pages) onChange({ page: pages === 1 ? undefined : pages })
    // eslint-disable-next-line react-hooks/exhaustive-deps -- when there are fewer pages
  }, [page, pages])

  const found = groups(counts.data ?? [], refused)
  const failed = decide.error ?? undo.error
  return (
    <div className={classes.queue}>
      <Reasons found={found} search={search} onChange={onChange} />
      <div className={classes.work}>
        <div className={classes.bar}>
          <ReasonSelect found={found} search={search} onChange={onChange} />
          <Sources sources={sources} value={search.source} every onChange={(source) => onChange({ source, page: undefined })} />
          {selected.length > 0 && (
            <div className={classes.many} role="region" aria-label="Of those selected">
              <b>{count(selected.length)} selected</b>
              {!refused && (
                <>
                  <Button size="compact-sm" disabled={!clear.length || decide.isPending} onClick={() => several(clear, best)}>
                    Accept the clear ones ({count(clear.length)})
                  </Button>
                  <Button size="compact-sm" variant="default" disabled={decide.isPending} onClick={() => several(selected, (entry) => refuse(entry.study_id))}>
                    Must not be linked
                  </Button>
                </>
              )}
              {refused && (
                <Button size="compact-sm" variant="default" disabled={decide.isPending} onClick={() => several(selected, (entry) => leave(entry.study_id))}>
                  Let the rules decide
                </Button>
              )}
              <Button size="compact-sm" variant="subtle" color="gray" onClick={() => setChosen(new Set())}>
                Clear
              </Button>
            </div>
          )}
          {selected.length === 0 && entries.length > 1 && (
            <Button size="compact-sm" variant="subtle" color="gray" onClick={() => setChosen(new Set(entries.map(keyOf)))}>
              Select all on this page
            </Button>
          )}
          <span className={`dim ${classes.keys}`} hidden={!entries.length}>
            <kbd>J</kbd> <kbd>K</kbd> next, previous · <kbd>Enter</kbd> accept · <kbd>C</kbd> choose · <kbd>R</kbd> refuse · <kbd>X</kbd> select · <kbd>U</kbd> undo
          </span>
        </div>
        <Failed error={failed} />
        {error && !data && <ErrorNotice error={error} title="The queue could not be loaded" onRetry={() => void refetch()} />}
        {data?.total === 0 && <Nothing refused={refused} filtered={!!search.kind} />}
        <ul className={classes.entries} aria-label={refused ? 'Not to be linked' : 'Studies that wait'} aria-busy={decide.isPending}>
          {entries.map((entry, n) => (
            <Entry
              key={keyOf(entry)}
              entry={entry}
              current={n === place}
              chosen={chosen.has(keyOf(entry))}
              from={sources.length > 1}
              busy={decide.isPending}
              onChosen={(wanted) => select(entry, wanted)}
              onCurrent={() => setAt(n)}
              {...acts}
            />
          ))}
        </ul>
        {data && data.total > PAGE_SIZE && (
          <Pager page={page} size={PAGE_SIZE} total={data.total} noun="studies" onPage={(to) => onChange({ page: to === 1 ? undefined : to })} />
        )}
      </div>
      {looking && (
        <Choose study={looking.entry.study_id} kind={looking.kind} start={looking.start} name={nameOf(looking.entry)} onClose={() => setLooking(undefined)} />
      )}
    </div>
  )
}
