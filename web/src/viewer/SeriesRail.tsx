/** The series of the study beside the picture. */
import type { Series } from '../api/types'
import { SERIES_NONE, seriesCounts, seriesTitle } from '../study/seriesText'
import { Thumbnail } from '../study/Thumbnail'
import classes from './viewer.module.css'

interface Props {
  series: readonly Series[]
  chosen: number | undefined
  onChoose: (series: Series) => void
}

export function SeriesRail({ series, chosen, onChoose }: Props) {
  return (
    <nav className={classes.rail2} aria-label="Series">
      {series.map((one) => (
        <button
          key={one.id}
          type="button"
          aria-current={one.id === chosen}
          data-testid="rail-series"
          title={`${seriesTitle(one)}: ${seriesCounts(one)}`}
          onMouseDown={(event) => event.preventDefault()}
          onClick={() => onChoose(one)}
        >
          <Thumbnail series={one} size={72} />
          <span className={classes.railTitle}>
            {one.series_number != null ? `${one.series_number} · ` : ''}
            {seriesTitle(one)}
          </span>
          <span className={classes.railCount}>
            {one.modality} {one.num_images || SERIES_NONE}
          </span>
        </button>
      ))}
    </nav>
  )
}
