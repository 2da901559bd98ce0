/** What was done last, and how it is taken back. */
export interface Undo {
  what: string
  undo: () => Promise<unknown>
}
