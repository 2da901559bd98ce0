/** How one to whom something is sent fares, in a sentence. Pure. */
import { plural } from '../common/format'

export type Mood = 'good' | 'bad' | 'still'

export interface Fares {
  mood: Mood
  sentence: string
}

/** When something is tried again: `Next try in 10 seconds.` */
export function nextTry(at: string | null, now = Date.now()): string {
  const wait = at ? Math.ceil((new Date(at).getTime() - now) / 1000) : 0
  if (wait <= 0) return 'It is tried again now.'
  return `Next try in ${wait < 120 ? plural(wait, 'second') : plural(Math.round(wait / 60), 'minute')}.`
}
