/** The viewer: one series of a study on the whole window, its image in the URL, every tool within reach of the keyboard. */
import { ActionIcon } from '@mantine/core'
import { IconArrowLeft } from '@tabler/icons-react'
import { getRouteApi, Link } from '@tanstack/react-router'
import { useEffect, useLayoutEffect, useRef, useState } from 'react'
import type { Series, StudyDetail } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { age, date, time } from '../common/format'
import { useKeys } from '../common/useKeys'
import { hasImage } from './frames'
import { firstToLookAt, seriesTitle } from '../study/seriesText'
import { CineBar } from './CineBar'
import { Help } from './Help'
import { NoImage } from './NoImage'
import { SeriesRail } from './SeriesRail'
import type { ViewerSearch } from './search'
import { Toolbar } from './Toolbar'
import { seriesRoot, useMetadata, useStudy } from './useViewerData'
import { useStack, Viewport } from './Viewport'
import { viewerKeys } from './keys'
import classes from './viewer.module.css'

const route = getRouteApi('/imaging/$studyId/view')
const URL_PAUSE_MS = 250

/** A radiograph is read in the dark, whatever the scheme of the other pages. */
function useDark() {
  useLayoutEffect(() => {
    const root = document.documentElement
    const before = root.getAttribute('data-mantine-color-scheme')
    root.setAttribute('data-mantine-color-scheme', 'dark')
    return () => {
      if (before) root.setAttribute('data-mantine-color-scheme', before)
    }
  }, [])
}

function pick(study: StudyDetail | undefined, id: string | undefined): Series | undefined {
  if (!study) return undefined
  const asked = id ? study.series.find((one) => String(one.id) === id || one.series_instance_uid === id) : undefined
  return asked ?? firstToLookAt(study.series)
}

function cornersOf(study: StudyDetail, series: Series) {
  const sex = [study.patient_sex, age(study.patient_birth_date, study.study_date)].filter(Boolean).join(', ')
  return {
    topLeft: [study.patient_name, study.patient_id, sex, study.study_description, `${date(study.study_date)} ${time(study.study_time)}`].filter(
      (line) => line.trim() !== '',
    ),
    topRight: [
      `${series.series_number != null ? `${series.series_number} · ` : ''}${seriesTitle(series)}`,
      series.modality,
      [series.manufacturer, series.model].filter(Boolean).join(' '),
    ].filter(Boolean),
  }
}

export function ViewerPage() {
  useDark()
  const { studyId } = route.useParams()
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const { data: study, error: studyError, refetch: refetchStudy } = useStudy(studyId, search.source)
  const series = pick(study, search.series)
  const { data: datasets, error: seriesError, refetch: refetchSeries } = useMetadata(series)
  const coarse = window.matchMedia('(pointer: coarse)').matches
  const { element, stack, state } = useStack(coarse ? 'scroll' : 'window')
  const [help, setHelp] = useState(false)
  const [text, setText] = useState(true)
  const [broken, setBroken] = useState<unknown>(null)

  // The stack is opened when it and the metadata of the chosen series are there; where to begin is read from the URL just then.
  const start = useRef<number | string>(0)
  useEffect(() => {
    start.current = search.instance ?? (search.image ?? 1) - 1
  })
  const root = series ? seriesRoot(series) : undefined
  useEffect(() => {
    if (!stack || !datasets?.some(hasImage) || !root) return
    stack.open(datasets, root, start.current).then(
      () => setBroken(null),
      (error: unknown) => setBroken(error),
    )
  }, [stack, datasets, root])

  const change = (part: Partial<ViewerSearch>, replace = true) =>
    void navigate({ search: (before) => ({ ...before, ...part }), replace, resetScroll: false })

  // The image goes into the URL when the scrolling rests: browsers allow only so many changes a second.
  const image = state?.count ? state.index + 1 : undefined
  useEffect(() => {
    if (image === undefined || !series) return
    const timer = window.setTimeout(() => {
      if (image !== search.image || search.instance) change({ series: String(series.id), image, instance: undefined })
    }, URL_PAUSE_MS)
    return () => window.clearTimeout(timer)
    // eslint-disable-next-line react-hooks/exhaustive-deps -- only a new image, not a new URL, is a reason to write
  }, [image, series?.id])

  const choose = (next: Series) => {
    if (next.id !== series?.id) change({ series: String(next.id), image: undefined, instance: undefined }, false)
  }
  const stepSeries = (by: number) => {
    const all = study?.series ?? []
    const next = all[all.findIndex((one) => one.id === series?.id) + by]
    if (next) choose(next)
  }
  useKeys(
    viewerKeys(stack, state, {
      series: stepSeries,
      help: () => setHelp(true),
      text: () => setText(!text),
      back: () => void navigate({ to: '/imaging/$studyId', params: { studyId }, search: { series: series && String(series.id), source: search.source } }),
    }),
    !help,
  )

  const pictures = series !== undefined && series.num_images > 0 && !(datasets && !datasets.some(hasImage))
  const error = studyError ?? (pictures ? (seriesError ?? broken) : null)
  useEffect(() => {
    document.title = series ? `${seriesTitle(series)} · Hilum` : 'Hilum'
    return () => {
      document.title = 'Hilum'
    }
  }, [series])
  return (
    <div className={classes.page}>
      <header className={classes.bar}>
        <ActionIcon
          size={34}
          variant="subtle"
          color="gray"
          aria-label="Back to the study"
          renderRoot={(props) => (
            <Link to="/imaging/$studyId" params={{ studyId }} search={{ series: series && String(series.id), source: search.source }} {...props} />
          )}
        >
          <IconArrowLeft size={19} />
        </ActionIcon>
        <h1 className={classes.name}>
          <span>{study ? study.patient_name || 'No name' : ''}</span>
          <span className="dim">{study ? [study.study_description, date(study.study_date)].filter(Boolean).join(' · ') : ''}</span>
        </h1>
        {(pictures || !study) && <Toolbar stack={stack} state={state} onHelp={() => setHelp(true)} />}
      </header>
      <SeriesRail series={study?.series ?? []} chosen={series?.id} onChoose={choose} />
      <main className={classes.main} data-text={text}>
        <div className={classes.pane} hidden={study !== undefined && !pictures}>
          <Viewport
            element={element}
            stack={stack}
            state={state}
            title={series ? [series.modality, seriesTitle(series)].filter(Boolean).join(', ') : 'Series'}
            seriesUid={series?.series_instance_uid ?? ''}
            corners={study && series ? cornersOf(study, series) : { topLeft: [], topRight: [] }}
          />
          {state && stack && state.count > 1 && (state.frame?.frames ?? 1) > 1 && <CineBar stack={stack} state={state} />}
        </div>
        {study && series && !pictures && <NoImage key={series.id} study={study} series={series} />}
        {study && !series && <p className={classes.nothing}>The archive holds no series of this study yet.</p>}
        {error ? (
          <div className={classes.fault}>
            <ErrorNotice
              error={error}
              title={studyError ? 'The study could not be opened' : 'The series could not be opened'}
              onRetry={() => {
                void refetchStudy()
                void refetchSeries()
              }}
            />
          </div>
        ) : null}
      </main>
      <Help opened={help} onClose={() => setHelp(false)} />
    </div>
  )
}
