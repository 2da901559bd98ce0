/** What left Hilum, or did not: who is told of events, what a FHIR server lacks, what forwarding gave up. */
import { api } from '../api/client'
import { ErrorNotice } from '../common/ErrorNotice'
import type { SettingsSearch } from '../settings/search'
import classes from '../settings/settings.module.css'
import { ConsumerRow } from './ConsumerRow'
import { Forwarded } from './Forwarded'
import { Published } from './Published'

/** More than there may be webhooks and handlers. */
const ALL = 500

interface Props {
  search: SettingsSearch
  onChange: (part: Partial<SettingsSearch>) => void
}

export function Deliveries({ search, onChange }: Props) {
  const often = { refetchInterval: 3000 }
  const consumers = api.useQuery('get', '/api/v1/imaging/deliveries/consumers', { params: { query: { limit: ALL } } }, often)
  const hooks = api.useQuery('get', '/api/v1/imaging/webhooks', { params: { query: { limit: ALL } } }, often)
  const publication = api.useQuery('get', '/api/v1/imaging/fhir/publication', {}, often)
  const rules = api.useQuery('get', '/api/v1/imaging/rules', {}, often)
  const error = consumers.error ?? hooks.error ?? publication.error ?? rules.error
  if (error && !consumers.data) return <ErrorNotice error={error} title="The deliveries could not be loaded" onRetry={() => void consumers.refetch()} />
  return (
    <>
      <section aria-labelledby="told" className={classes.section}>
        <header>
          <h2 id="told">Who is told of events</h2>
        </header>
        {consumers.data?.total === 0 && <p className={classes.none}>Nobody yet: no worker has run.</p>}
        <ul className={classes.list}>
          {consumers.data?.items.map((one) => (
            <ConsumerRow key={one.name} consumer={one} hooks={hooks.data?.items ?? []} search={search} onChange={onChange} />
          ))}
        </ul>
      </section>
      {publication.data?.server && <Published publication={publication.data} />}
      {rules.data && <Forwarded rules={rules.data} />}
    </>
  )
}
