/** The study list: search, filters, order and page, all in the URL; the keyboard moves through it. */
import { Button, Progress } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { IconFolderDown, IconZoomQuestion } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { getRouteApi } from '@tanstack/react-router'
import { useEffect, useState } from 'react'
import { api } from '../api/client'
import type { Study } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import { Pager } from '../common/Pager'
import { useKeys } from '../common/useKeys'
import { UploadButton } from '../upload/UploadButton'
import { Filters } from './Filters'
import { SearchBox } from './SearchBox'
import { DEFAULT_SORT, isFiltered, PAGE_SIZE, type StudiesSearch, studyQuery } from './search'
import { StudyCards } from './StudyCards'
import { StudyTable } from './StudyTable'
import classes from './studies.module.css'

const route = getRouteApi('/imaging')

export function StudiesPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const narrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false })
  const { data, error, isFetching, isPlaceholderData, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/studies',
    { params: { query: studyQuery(search) } },
    { placeholderData: keepPreviousData },
  )
  const page = search.page ?? 1
  const sort = search.sort ?? DEFAULT_SORT

  /** Any change of what is asked for goes back to its first page. */
  const change = (part: Partial<StudiesSearch>, replace = true) =>
    void navigate({ search: (before) => ({ ...before, page: undefined, ...part }), replace })
  const turn = (to: number) => void navigate({ search: (before) => ({ ...before, page: to }), resetScroll: true })
  const open = (study: Study) => void navigate({ to: '/imaging/$studyId', params: { studyId: String(study.id) }, search: {} })

  // The active row belongs to one answer of the server: a new answer has none.
  const [active, setActive] = useState<{ of: unknown; index: number }>({ of: null, index: -1 })
  const index = active.of === data ? active.index : -1
  const move = (by: number) => {
    const last = (data?.items.length ?? 0) - 1
    setActive({ of: data, index: Math.max(0, Math.min(last, index + by)) })
  }
  const pages = Math.ceil((data?.total ?? 0) / PAGE_SIZE)
  useKeys({
    j: () => move(1),
    ArrowDown: () => move(1),
    k: () => move(-1),
    ArrowUp: () => move(-1),
    Home: () => move(-PAGE_SIZE),
    End: () => move(PAGE_SIZE),
    Enter: () => {
      const study = data?.items[index]
      if (study) open(study)
    },
    n: () => page < pages && turn(page + 1),
    p: () => page > 1 && turn(page - 1),
  })
  useEffect(() => {
    if (index >= 0) document.querySelector('[data-testid=study-row][data-active]')?.scrollIntoView({ block: 'nearest' })
  }, [index])

  // A page beyond the last one (studies went away, or a link of old): the last one there is.
  useEffect(() => {
    if (data && !isPlaceholderData && data.total > 0 && data.items.length === 0)
      void navigate({ search: (before) => ({ ...before, page: Math.ceil(data.total / PAGE_SIZE) }), replace: true })
  }, [data, isPlaceholderData, navigate])

  const nothing = data && !isPlaceholderData && data.total === 0
  return (
    <>
      <h1 className="sr-only">Studies</h1>
      <div className={classes.toolbar}>
        <SearchBox value={search.q ?? ''} onSearch={(q) => q !== search.q && change({ q })} />
        <Filters search={search} onChange={change} />
        <div className={classes.actions}>
          <UploadButton source={search.source} />
        </div>
      </div>
      {error && <ErrorNotice error={error} title="The studies could not be loaded" onRetry={() => void refetch()} />}
      {nothing ? (
        <div className={`panel ${common.empty}`}>
          {isFiltered(search) ? (
            <>
              <IconZoomQuestion size={42} stroke={1.4} />
              <h2>No study matches</h2>
              <p>Nothing in the archive fits this search and these filters together. Take one away, or begin again.</p>
              <Button variant="default" onClick={() => void navigate({ search: {} })}>
                Show all studies
              </Button>
            </>
          ) : (
            <>
              <IconFolderDown size={48} stroke={1.3} />
              <h2>Drop a folder of DICOM here</h2>
              <p>
                The archive is empty. Drop a folder, files or a zip anywhere on this page, or pick them. Whatever is not DICOM is left out, and you
                are told why.
              </p>
              <UploadButton size="sm" />
            </>
          )}
        </div>
      ) : (
        !(error && !data) && (
          <section className={narrow ? undefined : `panel ${classes.list}`} data-testid="study-list" data-stale={isPlaceholderData || undefined}>
            {!narrow && (
              <div className={classes.fetching} aria-hidden>
                {isFetching && data && <Progress value={100} size={2} animated striped />}
              </div>
            )}
            {narrow ? (
              <StudyCards studies={data?.items} />
            ) : (
              <div className={classes.scroll}>
                <StudyTable studies={data?.items} sort={sort} onSort={(next) => change({ sort: next === DEFAULT_SORT ? undefined : next })} active={index} onOpen={open} />
              </div>
            )}
            {data && <Pager page={page} size={PAGE_SIZE} total={data.total} noun="studies" onPage={turn} />}
          </section>
        )
      )}
    </>
  )
}
