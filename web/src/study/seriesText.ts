/** A series in words. */
import type { Series } from '../api/types'
import { plural } from '../common/format'

export const SERIES_NONE = 'no image'

export function seriesTitle(series: Series): string {
  return series.series_description || (series.modality ? `${series.modality} series` : 'Series')
}

/** What is looked at first: the first series with more than one image (not the scout), else the first with any, else the first. */
export function firstToLookAt(series: readonly Series[]): Series | undefined {
  return series.find((one) => one.num_images > 1) ?? series.find((one) => one.num_images > 0) ?? series[0]
}

/** How much is in it: frames and, where they differ, instances; `1 instance, no image` for what holds none. */
export function seriesCounts(series: Series): string {
  if (!series.num_images) return `${plural(series.num_instances, 'instance')}, ${SERIES_NONE}`
  if (series.num_images === series.num_instances) return plural(series.num_images, 'image')
  return `${plural(series.num_images, 'image')} in ${plural(series.num_instances, 'instance')}`
}
