/** Says what was decided of links last, and takes it back on request. */
import { sentence } from '../api/client'
import { Toast } from '../common/Toast'
import { forgetDone, useDone, useUndo } from './act'

export function DoneToast() {
  const last = useDone().at(-1)
  const undo = useUndo()
  if (!last) return null
  return (
    <Toast label="Decided" busy={undo.isPending} onUndo={() => undo.mutate()} onDismiss={forgetDone}>
      {undo.error ? sentence(undo.error) : last.what}
    </Toast>
  )
}
