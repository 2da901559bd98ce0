/** The series of a study with their pictures; the chosen one is what the panel beside it tells about. */
import { ActionIcon, Tooltip } from '@mantine/core'
import { IconEye } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import type { Series, StudyDetail } from '../api/types'
import { plural } from '../common/format'
import { DerivedMark } from '../common/Marks'
import { ModalityBadge } from '../common/Modality'
import { seriesCounts, seriesTitle } from './seriesText'
import { Thumbnail } from './Thumbnail'
import classes from './study.module.css'

interface Props {
  study: StudyDetail
  chosen: Series | undefined
  onChoose: (id: string) => void
  source: string | undefined
}

export function SeriesList({ study, chosen, onChoose, source }: Props) {
  const remote = study.availability === 'remote'
  return (
    <section className={`panel ${classes.series}`} aria-label="Series">
      <h2>
        Series <span className="dim">{study.series.length}</span>
      </h2>
      <ul>
        {study.series.map((series) => {
          const facts = [
            remote ? plural(series.num_instances, 'instance') : seriesCounts(series),
            series.slice_thickness == null ? null : `${Number(series.slice_thickness.toFixed(2))} mm`,
            series.rows && series.columns ? `${series.columns}\u00a0×\u00a0${series.rows}` : null,
            series.laterality,
            series.view_position,
          ].filter(Boolean)
          return (
            <li key={series.id} data-chosen={series.id === chosen?.id || undefined} data-testid="series-row">
              <button type="button" aria-pressed={series.id === chosen?.id} onClick={() => onChoose(String(series.id))}>
                <Thumbnail series={series} />
                <span className={classes.seriesText}>
                  <span className={classes.seriesTitle}>
                    {series.series_number != null && <span className="dim">{series.series_number}</span>}
                    <span className="ellipsis" title={seriesTitle(series)}>
                      {seriesTitle(series)}
                    </span>
                  </span>
                  <span className={classes.seriesFacts}>
                    {series.modality && <ModalityBadge code={series.modality} />} {facts.join(' · ')} {series.derived && <DerivedMark of="Series" />}
                  </span>
                </span>
              </button>
              {!remote && (
                <Tooltip label="View this series" openDelay={400}>
                  <ActionIcon
                    variant="subtle"
                    color="gray"
                    aria-label={`View ${seriesTitle(series)}`}
                    renderRoot={(props) => (
                      <Link to="/imaging/$studyId/view" params={{ studyId: String(study.id) }} search={{ series: String(series.id), source }} {...props} />
                    )}
                  >
                    <IconEye size={17} stroke={1.6} />
                  </ActionIcon>
                </Tooltip>
              )}
            </li>
          )
        })}
      </ul>
    </section>
  )
}
