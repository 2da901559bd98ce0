import { sentence } from '../api/client'

/** What went wrong, as a sentence; nothing while nothing did. */
export function Failed({ error }: { error: unknown }) {
  if (!error) return null
  return (
    <p role="alert" className="failed">
      {sentence(error)}
    </p>
  )
}
