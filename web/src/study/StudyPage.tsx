/** One study: who and what, its series, and for the chosen series its instances, tags and the files that came with it. */
import { Skeleton, Tabs } from '@mantine/core'
import { IconArrowLeft } from '@tabler/icons-react'
import { getRouteApi, useCanGoBack, useRouter } from '@tanstack/react-router'
import { useEffect } from 'react'
import { api } from '../api/client'
import { ErrorNotice } from '../common/ErrorNotice'
import { count } from '../common/format'
import { useKeys } from '../common/useKeys'
import { BundleFiles } from './BundleFiles'
import { EarlierVersions, useEarlierVersions } from './EarlierVersions'
import { InstanceTable } from './InstanceTable'
import { Revisions } from './Revisions'
import { SeriesList } from './SeriesList'
import { StudyHeader } from './StudyHeader'
import { StudyLinks } from './StudyLinks'
import { TagPanel } from './TagPanel'
import { firstToLookAt } from './seriesText'
import { TABS, type StudySearch } from './search'
import classes from './study.module.css'

// How often a study is looked at of which more may come.
const COMING_MS = 5000

const route = getRouteApi('/imaging/$studyId')

export function StudyPage() {
  const { studyId } = route.useParams()
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const router = useRouter()
  const canGoBack = useCanGoBack()
  const { data: study, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}',
    { params: { path: { study: studyId }, query: search.source ? { source: search.source } : {} } },
    { refetchInterval: (query) => (query.state.data?.status === 'indexed' ? COMING_MS : false) },
  )
  const series = study?.series.find((one) => String(one.id) === search.series || one.series_instance_uid === search.series) ?? (study && firstToLookAt(study.series))
  const change = (part: Partial<StudySearch>) => void navigate({ search: (before) => ({ ...before, ...part }), replace: true, resetScroll: false })
  const choose = (id: string) => change({ series: id, page: undefined, nth: undefined })
  const step = (by: number) => {
    if (!study || !series) return
    const next = study.series[study.series.indexOf(series) + by]
    if (next) choose(String(next.id))
  }
  const back = () => (canGoBack ? router.history.back() : void navigate({ to: '/imaging', search: {} }))
  const view = () => study && series && void navigate({ to: '/imaging/$studyId/view', params: { studyId }, search: { series: String(series.id), source: search.source } })
  useKeys({ j: () => step(1), k: () => step(-1), v: () => view(), Escape: back })

  useEffect(() => {
    document.title = study ? `${study.study_description || study.modality || 'Study'} · Hilum` : 'Hilum'
    return () => {
      document.title = 'Hilum'
    }
  }, [study])

  const tab = search.tab ?? 'instances'
  const earlier = useEarlierVersions(study, tab === 'versions' ? (search.page ?? 1) : 1)
  return (
    <div className={classes.page}>
      <a
        href="/imaging"
        className={classes.back}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return
          event.preventDefault()
          back()
        }}
      >
        <IconArrowLeft size={15} /> Studies
      </a>
      {error && <ErrorNotice error={error} title="The study could not be opened" onRetry={() => void refetch()} />}
      {!study && !error && (
        <>
          <Skeleton height={188} radius="md" />
          <div className={classes.columns}>
            <Skeleton height={420} radius="md" />
            <Skeleton height={420} radius="md" />
          </div>
        </>
      )}
      {study && (
        <>
          <StudyHeader study={study} series={series} source={search.source} />
          <div className={classes.columns}>
            <SeriesList study={study} chosen={series} onChoose={choose} source={search.source} />
            <section className={`panel ${classes.detail}`} aria-label="Of the chosen series">
              <Tabs
                value={tab}
                onChange={(value) => {
                  const next = TABS.find((one) => one === value)
                  change({ tab: next === 'instances' ? undefined : next, page: undefined })
                }}
                keepMounted={false}
              >
                <Tabs.List className="tabs">
                  <Tabs.Tab value="instances">
                    Instances <span className="dim">{count(series?.num_instances)}</span>
                  </Tabs.Tab>
                  <Tabs.Tab value="tags">Tags</Tabs.Tab>
                  <Tabs.Tab value="links">Links</Tabs.Tab>
                  <Tabs.Tab value="revisions">
                    Revisions <span className="dim">{count(study.revision)}</span>
                  </Tabs.Tab>
                  {(study.bundle_files.length > 0 || tab === 'files') && (
                    <Tabs.Tab value="files">
                      Files of the bundle <span className="dim">{count(study.bundle_files.length)}</span>
                    </Tabs.Tab>
                  )}
                  {(!!earlier.data?.total || tab === 'versions') && (
                    <Tabs.Tab value="versions">
                      Earlier versions <span className="dim">{count(earlier.data?.total)}</span>
                    </Tabs.Tab>
                  )}
                </Tabs.List>
                <Tabs.Panel value="instances">
                  {series && <InstanceTable key={series.id} study={study} series={series} search={search} onChange={change} />}
                </Tabs.Panel>
                <Tabs.Panel value="tags">{series && <TagPanel key={series.id} study={study} series={series} search={search} onChange={change} />}</Tabs.Panel>
                <Tabs.Panel value="links">
                  <StudyLinks study={study} />
                </Tabs.Panel>
                <Tabs.Panel value="revisions">
                  <Revisions key={study.revision} study={study} page={search.page ?? 1} onPage={(to) => change({ page: to === 1 ? undefined : to })} />
                </Tabs.Panel>
                <Tabs.Panel value="files">
                  <BundleFiles files={study.bundle_files} />
                </Tabs.Panel>
                <Tabs.Panel value="versions">
                  <EarlierVersions versions={earlier} page={search.page ?? 1} onPage={(to) => change({ page: to === 1 ? undefined : to })} />
                </Tabs.Panel>
              </Tabs>
              {!series && <p className={classes.none}>The archive holds no series of this study yet.</p>}
            </section>
          </div>
        </>
      )}
    </div>
  )
}
