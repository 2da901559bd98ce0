/** Which images belong to whom: what waits for a decision, what was refused, how good it all is, and the site's mapping tables. */
import { Tabs } from '@mantine/core'
import { IconDatabase } from '@tabler/icons-react'
import { getRouteApi } from '@tanstack/react-router'
import { api } from '../api/client'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import { Waiting } from '../common/Waiting'
import { Maps } from './Maps'
import { Quality } from './Quality'
import { Queue } from './Queue'
import { type LinksSearch, VIEWS } from './search'

const route = getRouteApi('/links')

function NoCdm() {
  return (
    <div className={common.empty}>
      <IconDatabase size={42} stroke={1.4} />
      <h2>No source has an OMOP CDM yet</h2>
      <p>
        Images are tied to the persons, procedures and visits of a CDM. Have one made by <code>hilum cdm create</code>, or name one that is there
        by <code>hilum cdm attach</code>.
      </p>
    </div>
  )
}

export function LinksPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const { data: all, error, refetch } = api.useQuery('get', '/api/v1/imaging/links/sources', {}, { refetchInterval: 15_000 })
  const change = (part: Partial<LinksSearch>) => void navigate({ search: (before) => ({ ...before, ...part }), replace: true, resetScroll: false })
  const sources = all?.filter((one) => one.cdm_schema)
  if (error && !all) return <ErrorNotice error={error} title="The links could not be loaded" onRetry={() => void refetch()} />
  const waiting = sources?.reduce((sum, one) => sum + one.waiting, 0)
  const view = search.view ?? 'queue'
  return (
    <section className="panel" aria-label="Links">
      <h1 className="sr-only">Links</h1>
      {sources?.length === 0 ? (
        <NoCdm />
      ) : (
        <Tabs
          value={view}
          keepMounted={false}
          onChange={(next) => void navigate({ search: { view: VIEWS.find((one) => one === next), source: search.source } })}
        >
          <Tabs.List className="tabs">
            <Tabs.Tab value="queue">
              Queue <Waiting total={waiting} />
            </Tabs.Tab>
            <Tabs.Tab value="refused">Refused</Tabs.Tab>
            <Tabs.Tab value="quality">Quality</Tabs.Tab>
            <Tabs.Tab value="maps">Mapping tables</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value={view}>
            {(view === 'queue' || view === 'refused') && (
              <Queue key={view} refused={view === 'refused'} sources={sources ?? []} search={search} onChange={change} />
            )}
            {sources && view === 'quality' && <Quality sources={sources} search={search} onChange={change} />}
            {sources && view === 'maps' && <Maps sources={sources} search={search} onChange={change} />}
          </Tabs.Panel>
        </Tabs>
      )}
    </section>
  )
}
