/** What the viewer shows, as it stands in the URL. */
import { compact, type RawSearch, text, whole } from '../common/search'

export interface ViewerSearch {
  series?: string | undefined
  /** The image, from 1, in the order of the stack. */
  image?: number | undefined
  /** A SOP Instance UID to begin with; the image number takes over once it is found. */
  instance?: string | undefined
  source?: string | undefined
}

export function viewerSearch(raw: RawSearch): ViewerSearch {
  return compact({ series: text(raw.series), image: whole(raw.image), instance: text(raw.instance), source: text(raw.source) })
}
