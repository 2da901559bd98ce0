/**
 * The upload that runs, kept outside the pages so that it goes on while a person looks around: files wait in requests, one request is sent
 * at a time, each becomes a job, and the jobs are asked how far they are until all have ended.
 */
import { useSyncExternalStore } from 'react'
import { fetchClient, queryClient, sentence } from '../api/client'
import type { Job } from '../api/types'
import { type Picked, requests } from './collect'
import { send, SendError } from './send'
import { type Kinds, kindsOf, needsWhose, type Whose } from './whose'

export type Phase = 'idle' | 'reading' | 'sending' | 'importing' | 'done' | 'failed' | 'cancelled'

/** Files that wait until a person has said whose they are. */
export interface Asking {
  files: number
  kinds: Kinds
  /** What a person said before, and why the server did not take it. */
  refused: { whose: Whose; error: string } | null
}

export interface UploadState {
  phase: Phase
  found: number
  files: number
  filesSent: number
  bytes: number
  bytesSent: number
  jobs: Job[]
  error: string | null
  startedAt: number
  asking: Asking | null
  /** The next files wait as well, whatever they are. */
  askFirst: boolean
}

/** One request of an upload. */
interface Batch {
  files: Picked[]
  source: string | undefined
  whose: Whose | undefined
}

const IDLE: UploadState = {
  phase: 'idle', found: 0, files: 0, filesSent: 0, bytes: 0, bytesSent: 0, jobs: [], error: null, startedAt: 0,
  asking: null, askFirst: false,
}

const POLL_MS = 600
const ENDED = new Set(['succeeded', 'failed', 'cancelled'])

export function hasEnded(job: Job): boolean {
  return ENDED.has(job.state)
}

/** Sums over the jobs of one upload. */
export function totals(jobs: readonly Job[]): Record<string, number> {
  const sum: Record<string, number> = {}
  for (const job of jobs)
    for (const [key, value] of Object.entries(job.counts)) sum[key] = (sum[key] ?? 0) + (typeof value === 'number' ? value : 0)
  return sum
}

/** The reasons of all jobs, one row a code, the most frequent first. */
export function mergedReasons(jobs: readonly Job[]): Job['reasons'] {
  const byCode = new Map<string, Job['reasons'][number]>()
  for (const reason of jobs.flatMap((job) => job.reasons)) {
    const known = byCode.get(reason.code)
    byCode.set(
      reason.code,
      known
        ? { ...known, count: known.count + reason.count, examples: [...known.examples, ...reason.examples].slice(0, 10) }
        : reason,
    )
  }
  return [...byCode.values()].sort((a, b) => b.count - a.count)
}

class UploadStore {
  private state = IDLE
  private listeners = new Set<() => void>()
  private waiting: Batch[] = []
  private held: { files: Picked[]; source: string | undefined } = { files: [], source: undefined }
  private abort = new AbortController()
  private running = false

  subscribe = (listener: () => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  get = () => this.state

  private set(change: Partial<UploadState>) {
    this.state = { ...this.state, ...change }
    this.listeners.forEach((listener) => listener())
  }

  /** Adds what `collect` gives to the upload; begins one if none runs. */
  async add(collect: (onFound: (n: number) => void) => Promise<Picked[]>, source?: string) {
    if (!this.running) {
      this.abort = new AbortController()
      this.waiting = []
      this.reset({ phase: 'reading', startedAt: Date.now() })
    }
    let picked: Picked[]
    try {
      picked = await collect((found) => this.set({ found }))
    } catch {
      if (!this.running) this.set({ phase: 'failed', error: 'The browser could not read the folder. Check that you may read every file in it.' })
      return
    }
    if (this.abort.signal.aborted) return
    if (!picked.length) {
      if (!this.running) this.set({ phase: 'failed', error: 'There was no file in what was dropped.' })
      return
    }
    if (this.state.askFirst || needsWhose(picked.map(({ path }) => path))) this.hold(picked, source)
    else this.enqueue(picked, source, undefined)
  }

  /** Keeps files back until `answer` says whose they are; those that wait already are meant as well. */
  private hold(picked: readonly Picked[], source: string | undefined, refused: Asking['refused'] = null) {
    const files = [...this.held.files, ...picked]
    this.held = { files, source }
    const asking = { files: files.length, kinds: kindsOf(files.map(({ path }) => path)), refused }
    this.set({ asking, ...(this.running ? {} : { phase: 'idle' }) })
  }

  /** Sends what is held, as a person's or, without one, as its files say. */
  answer(whose: Whose | undefined) {
    const { files, source } = this.held
    this.held = { files: [], source: undefined }
    this.set({ asking: null, askFirst: false })
    if (!files.length) return
    if (!this.running) {
      this.abort = new AbortController()
      this.waiting = []
      this.reset({ startedAt: Date.now() })
    }
    this.enqueue(files, source, whose)
  }

  /** Lets go of what is held. */
  dismiss() {
    this.held = { files: [], source: undefined }
    this.set({ asking: null, askFirst: false })
  }

  setAskFirst(askFirst: boolean) {
    this.set({ askFirst })
  }

  private enqueue(picked: readonly Picked[], source: string | undefined, whose: Whose | undefined) {
    this.waiting.push(...requests(picked).map((files) => ({ files, source, whose })))
    this.set({
      files: this.state.files + picked.length,
      bytes: this.state.bytes + picked.reduce((sum, { file }) => sum + file.size, 0),
    })
    if (!this.running) void this.run()
  }

  /** Everything anew, but for what waits for a person. */
  private reset(change: Partial<UploadState> = {}) {
    const { asking, askFirst } = this.state
    this.set({ ...IDLE, asking, askFirst, ...change })
  }

  /** The server did not take what a person said: the files wait again, with its reason. */
  private askAgain(batch: Batch, error: SendError): boolean {
    if (error.status !== 422 || !batch.whose) return false
    const back = this.waiting.filter((one) => one.whose === batch.whose)
    this.waiting = this.waiting.filter((one) => one.whose !== batch.whose)
    const files = back.flatMap((one) => one.files)
    this.set({
      files: this.state.files - files.length,
      bytes: this.state.bytes - files.reduce((sum, { file }) => sum + file.size, 0),
    })
    this.hold(files, batch.source, { whose: batch.whose, error: error.message })
    return true
  }

  /** Goes on after an error, from the request that failed. */
  resume() {
    if (this.state.phase === 'failed' && this.waiting.length && !this.running) void this.run()
  }

  get canResume() {
    return this.waiting.length > 0
  }

  private async run() {
    this.running = true
    this.set({ phase: 'sending', error: null })
    const polling = this.poll()
    try {
      for (let next = this.waiting[0]; next; next = this.waiting[0]) {
        const before = this.state.bytesSent
        const size = next.files.reduce((sum, { file }) => sum + file.size, 0)
        try {
          const job = await send(next.files, next.source, next.whose, (sent) => this.set({ bytesSent: before + Math.min(sent, size) }), this.abort.signal)
          this.set({ jobs: [...this.state.jobs, job], filesSent: this.state.filesSent + next.files.length, bytesSent: before + size })
        } catch (error) {
          this.set({ bytesSent: before })
          if (error instanceof SendError && this.askAgain(next, error)) continue
          throw error
        }
        this.waiting.shift()
      }
      this.set({ phase: 'importing' })
      this.running = false
      await polling
      // All of it waits for a person again: there is nothing to tell.
      if (!this.state.files) this.reset()
      else if (this.state.phase === 'importing') this.set({ phase: 'done' })
    } catch (error) {
      this.running = false
      if (this.abort.signal.aborted) this.set({ phase: 'cancelled' })
      else this.set({ phase: 'failed', error: sentence(error) })
    } finally {
      this.refresh()
    }
  }

  /** Asks after every job that has not ended, until nothing is sent any more and all have. */
  private async poll() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
      if (this.abort.signal.aborted) return
      for (const job of this.state.jobs.filter((one) => !hasEnded(one))) {
        try {
          const { data } = await fetchClient.GET('/api/v1/imaging/jobs/{job_id}', { params: { path: { job_id: job.id } } })
          if (!data) continue
          this.set({ jobs: this.state.jobs.map((one) => (one.id === data.id ? data : one)) })
          if (hasEnded(data)) this.refresh()
        } catch {
          break // The server is away for a moment; the next round asks again.
        }
      }
      if (!this.running && this.state.jobs.every(hasEnded)) return
    }
  }

  private refresh() {
    void queryClient.invalidateQueries()
  }

  async cancel() {
    this.abort.abort()
    this.waiting = []
    const open = this.state.jobs.filter((job) => !hasEnded(job))
    this.set({ phase: 'cancelled' })
    await Promise.allSettled(
      open.map((job) => fetchClient.POST('/api/v1/imaging/jobs/{job_id}/cancel', { params: { path: { job_id: job.id } } })),
    )
    this.refresh()
  }

  close() {
    if (!this.running) this.reset()
  }
}

export const uploads = new UploadStore()

export function useUpload(): UploadState {
  return useSyncExternalStore(uploads.subscribe, uploads.get)
}
