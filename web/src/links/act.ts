/** Deciding of links, and the way back: what was done last can be undone wherever one goes next. */
import { useMutation } from '@tanstack/react-query'
import { useSyncExternalStore } from 'react'
import { fetchClient, queryClient } from '../api/client'
import type { Decided, Decisions } from '../api/types'

export interface Done {
  what: string
  /** What undoes it, in the order in which to send it. */
  undo: Decided[]
}

let stack: readonly Done[] = []
const listeners = new Set<() => void>()

function change(next: readonly Done[]) {
  stack = next
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void) {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

/** What was done, the last at the end; forgotten with the page. */
export function useDone(): readonly Done[] {
  return useSyncExternalStore(subscribe, () => stack)
}

export function forgetDone() {
  change([])
}

async function send(body: Decisions): Promise<Decided> {
  const { data, error } = await fetchClient.POST('/api/v1/imaging/links/decisions', { body })
  if (!data) throw error as unknown
  return data
}

export interface Deed {
  what: string
  decisions: Decisions[]
}

/** Decide; what was decided before is kept for undoing. */
export function useDecide() {
  return useMutation({
    mutationFn: async ({ what, decisions }: Deed) => {
      const undo: Decided[] = []
      try {
        for (const body of decisions) undo.unshift(await send(body))
      } finally {
        if (undo.length) change([...stack, { what, undo }])
        await queryClient.invalidateQueries()
      }
    },
  })
}

/** Take back what was done last. */
export function useUndo() {
  return useMutation({
    mutationFn: async () => {
      const last = stack.at(-1)
      if (!last) return
      for (const { kind, decisions } of last.undo) await send({ kind, decisions, alike: false })
      change(stack.filter((one) => one !== last))
      await queryClient.invalidateQueries()
    },
  })
}
