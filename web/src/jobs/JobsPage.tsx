/** What the platform is doing and has done, the files that it set aside, and the studies that wait for a person's decision. */
import { Select, Tabs } from '@mantine/core'
import { IconListCheck } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { api } from '../api/client'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import { count } from '../common/format'
import { Pager } from '../common/Pager'
import { Waiting } from '../common/Waiting'
import { Conflicts } from './Conflicts'
import { JobCard, JobSkeletons } from './JobCard'
import { Quarantine } from './Quarantine'
import { PAGE_SIZE, STATES, VIEWS, type JobsSearch } from './search'
import { SetAsideTable } from './SetAsideTable'
import { useConflicts, useQuarantine } from './waiting'
import classes from './jobs.module.css'

const route = getRouteApi('/jobs')

function Jobs({ search, onChange }: { search: JobsSearch; onChange: (part: Partial<JobsSearch>) => void }) {
  const page = search.page ?? 1
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/jobs',
    { params: { query: { ...(search.state ? { state: [search.state] } : {}), limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } },
    {
      placeholderData: keepPreviousData,
      // Something moves: look often. Nothing moves: look now and then, for what others began.
      refetchInterval: (query) => (query.state.data?.items.some((job) => job.state === 'queued' || job.state === 'running') ? 1000 : 10_000),
    },
  )
  return (
    <>
      <div className={classes.bar}>
        <Select
          size="xs"
          w={150}
          aria-label="State"
          placeholder="Every state"
          clearable
          data={STATES.map((state) => ({ value: state, label: state.charAt(0).toUpperCase() + state.slice(1) }))}
          value={search.state ?? null}
          onChange={(state) => onChange({ state: STATES.find((one) => one === state), page: undefined })}
        />
      </div>
      {error && <ErrorNotice error={error} title="The jobs could not be loaded" onRetry={() => void refetch()} />}
      {!data && !error && <JobSkeletons />}
      {data && data.total === 0 && (
        <div className={common.empty}>
          <IconListCheck size={42} stroke={1.4} />
          <h2>{search.state ? 'No job is in this state' : 'No job has run yet'}</h2>
          <p>Every upload and import is a job: how far it is, what it brought, and what it left out and why stand here.</p>
        </div>
      )}
      <ul className={classes.jobs}>
        {data?.items.map((job) => (
          <JobCard key={job.id} job={job} open={search.job === String(job.id)} onOpen={(open) => onChange({ job: open ? String(job.id) : undefined })} />
        ))}
      </ul>
      {data && data.total > 0 && (
        <Pager page={page} size={PAGE_SIZE} total={data.total} noun="jobs" onPage={(to) => onChange({ page: to === 1 ? undefined : to })} />
      )}
    </>
  )
}

export function JobsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const { data: stats } = api.useQuery('get', '/api/v1/imaging/stats', {}, { staleTime: 15_000 })
  const page = search.page ?? 1
  // The page that is looked at brings the count; of the other lists one row does.
  const quarantine = useQuarantine(search.view === 'quarantine' ? page : undefined)
  const conflicts = useConflicts(search.view === 'conflicts' ? page : undefined)
  const onPage = (to: number) => change({ page: to === 1 ? undefined : to })
  const change = (part: Partial<JobsSearch>) => void navigate({ search: (before) => ({ ...before, ...part }), replace: true, resetScroll: false })
  return (
    <section className="panel" aria-label="Jobs">
      <h1 className="sr-only">Jobs</h1>
      <Tabs
        value={search.view ?? 'jobs'}
        keepMounted={false}
        onChange={(view) => void navigate({ search: { view: VIEWS.find((one) => one === view) } })}
      >
        <Tabs.List className="tabs">
          <Tabs.Tab value="jobs">Jobs</Tabs.Tab>
          <Tabs.Tab value="set-aside">
            Set aside <span className="dim">{stats ? count(stats.set_aside) : ''}</span>
          </Tabs.Tab>
          <Tabs.Tab value="quarantine">
            Quarantine <Waiting total={quarantine.data?.total} />
          </Tabs.Tab>
          <Tabs.Tab value="conflicts">
            Conflicts <Waiting total={conflicts.data?.total} />
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="jobs">
          <Jobs search={search} onChange={change} />
        </Tabs.Panel>
        <Tabs.Panel value="set-aside">
          <SetAsideTable page={page} onPage={onPage} />
        </Tabs.Panel>
        <Tabs.Panel value="quarantine">
          <Quarantine list={quarantine} page={page} onPage={onPage} />
        </Tabs.Panel>
        <Tabs.Panel value="conflicts">
          <Conflicts list={conflicts} page={page} onPage={onPage} />
        </Tabs.Panel>
      </Tabs>
    </section>
  )
}
