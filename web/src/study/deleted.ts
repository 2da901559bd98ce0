/** The study that was deleted last, so that wherever one goes next it can be had back. */
import { useSyncExternalStore } from 'react'

export interface Deleted {
  id: number
  description: string
}

let deleted: Deleted | null = null
const listeners = new Set<() => void>()

export function rememberDeleted(next: Deleted | null) {
  deleted = next
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void) {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

export function useDeleted(): Deleted | null {
  return useSyncExternalStore(subscribe, () => deleted)
}
