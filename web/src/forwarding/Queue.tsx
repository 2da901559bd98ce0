/** What a rule has queued, instance by instance. */
import { Button, Select } from '@mantine/core'
import { keepPreviousData } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { api, queryClient } from '../api/client'
import type { QueueItem, Rule } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import { ago, bytes, moment, plural } from '../common/format'
import { Pager } from '../common/Pager'
import type { SettingsSearch } from '../settings/search'
import { STATE_NAMES, STATES } from './text'
import classes from '../settings/settings.module.css'

const PAGE_SIZE = 20

function Line({ rule, item }: { rule: Rule; item: QueueItem }) {
  const params = { path: { rule: rule.id, item: item.id } }
  const replay = api.useMutation('post', '/api/v1/imaging/rules/{rule}/queue/{item}/replay')
  const discard = api.useMutation('delete', '/api/v1/imaging/rules/{rule}/queue/{item}')
  const renew = () => void queryClient.invalidateQueries()
  const failed = replay.error ?? discard.error
  return (
    <li className={classes.item} data-testid="item" data-state={item.state}>
      <div className={classes.about}>
        <Link to="/imaging/$studyId" params={{ studyId: item.study_instance_uid }} search={{}} className="mono">
          {item.sop_instance_uid}
        </Link>
        <span className="dim">
          {bytes(item.size)} · <span title={moment(item.sent_at ?? item.queued_at)}>{item.sent_at ? `sent ${ago(item.sent_at)}` : `queued ${ago(item.queued_at)}`}</span>
          {item.attempts > 0 && ` · ${plural(item.attempts, 'attempt')}`}
        </span>
        {(item.error || item.warning) && <span className={item.error ? classes.failed : undefined}>{item.error || item.warning}</span>}
        <Failed error={failed} />
      </div>
      <span>{item.state === 'dead' ? 'Dead letter' : STATE_NAMES[item.state]}</span>
      <div className={classes.acts}>
        {item.state === 'dead' && (
          <Button size="compact-xs" variant="default" loading={replay.isPending} onClick={() => replay.mutate({ params }, { onSuccess: renew })}>
            Send again
          </Button>
        )}
        {(item.state === 'dead' || item.state === 'waiting') && (
          <Button size="compact-xs" variant="default" loading={discard.isPending} onClick={() => discard.mutate({ params }, { onSuccess: renew })}>
            Do not send
          </Button>
        )}
      </div>
    </li>
  )
}

interface Props {
  rule: Rule
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
}

export function Queue({ rule, search, onChange }: Props) {
  const page = search.page ?? 1
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/rules/{rule}/queue',
    { params: { path: { rule: rule.id }, query: { ...(search.state ? { state: search.state } : {}), limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } },
    { placeholderData: keepPreviousData, refetchInterval: 3000 },
  )
  return (
    <div className={classes.queue} data-testid="queue">
      <Select
        size="xs"
        w={160}
        aria-label="State in the queue"
        placeholder="Every state"
        clearable
        data={STATES.map((state) => ({ value: state, label: STATE_NAMES[state] }))}
        value={search.state ?? null}
        onChange={(state) => onChange({ state: STATES.find((one) => one === state), page: undefined })}
      />
      {error && <ErrorNotice error={error} title="The queue could not be loaded" onRetry={() => void refetch()} />}
      {data?.total === 0 && <p className={classes.none}>{search.state ? 'Nothing is in this state.' : 'Nothing has been queued yet.'}</p>}
      <ul className={classes.list}>{data?.items.map((item) => <Line key={item.id} rule={rule} item={item} />)}</ul>
      {data && data.total > PAGE_SIZE && (
        <Pager page={page} size={PAGE_SIZE} total={data.total} noun="instances" onPage={(to) => onChange({ page: to === 1 ? undefined : to })} />
      )}
    </div>
  )
}
