/** The deliveries of one consumer, event by event. */
import { Button, Select } from '@mantine/core'
import { keepPreviousData } from '@tanstack/react-query'
import { api, queryClient } from '../api/client'
import type { Delivery } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { Failed } from '../common/Failed'
import { moment } from '../common/format'
import { Pager } from '../common/Pager'
import { nextTry } from '../settings/fares'
import type { SettingsSearch } from '../settings/search'
import classes from '../settings/settings.module.css'
import { shortType } from '../webhooks/text'
import { DELIVERY_NAMES, DELIVERY_STATES, tried } from './text'

const PAGE_SIZE = 20

function Letter({ delivery }: { delivery: Delivery }) {
  const replay = api.useMutation('post', '/api/v1/imaging/deliveries/{delivery_id}/replay')
  const { state, tried_at } = delivery
  return (
    <li className={classes.item} data-testid="delivery" data-state={state}>
      <div className={classes.about}>
        <span>
          {shortType(delivery.type)} <span className="mono">{delivery.subject}</span>
        </span>
        <span className="dim">
          Event {delivery.sequence} · <span title={moment(tried_at)}>{tried(delivery)}</span>
        </span>
        {delivery.reason && <span className={classes.failed}>{delivery.reason}</span>}
        <Failed error={replay.error} />
      </div>
      <span>{state === 'dead' ? 'Dead letter' : DELIVERY_NAMES[state]}</span>
      <div className={classes.acts}>
        {state === 'retrying' && <span className="dim">{nextTry(delivery.due_at)}</span>}
        {state === 'dead' && (
          <Button
            size="compact-xs"
            variant="default"
            loading={replay.isPending}
            onClick={() => replay.mutate({ params: { path: { delivery_id: delivery.id } } }, { onSuccess: () => void queryClient.invalidateQueries() })}
          >
            Send again
          </Button>
        )}
      </div>
    </li>
  )
}

interface Props {
  consumer: string
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
}

export function Letters({ consumer, search, onChange }: Props) {
  const page = search.page ?? 1
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/deliveries',
    { params: { query: { consumer, ...(search.delivery ? { state: [search.delivery] } : {}), limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } },
    { placeholderData: keepPreviousData, refetchInterval: 3000 },
  )
  return (
    <div className={classes.queue} data-testid="letters">
      <Select
        size="xs"
        w={160}
        aria-label="State of the deliveries"
        placeholder="Every state"
        clearable
        data={DELIVERY_STATES.map((state) => ({ value: state, label: DELIVERY_NAMES[state] }))}
        value={search.delivery ?? null}
        onChange={(state) => onChange({ delivery: DELIVERY_STATES.find((one) => one === state), page: undefined })}
      />
      {error && <ErrorNotice error={error} title="The deliveries could not be loaded" onRetry={() => void refetch()} />}
      {data?.total === 0 && <p className={classes.none}>{search.delivery ? 'Nothing is in this state.' : 'Nothing failed, and nothing is listed.'}</p>}
      <ul className={classes.list}>{data?.items.map((one) => <Letter key={one.id} delivery={one} />)}</ul>
      {data && data.total > PAGE_SIZE && (
        <Pager page={page} size={PAGE_SIZE} total={data.total} noun="deliveries" onPage={(to) => onChange({ page: to === 1 ? undefined : to })} />
      )}
    </div>
  )
}
