/** One request of an upload. XMLHttpRequest, because fetch cannot tell how much of a body has left. */
import type { Job } from '../api/types'
import type { Picked } from './collect'
import { fields, type Whose } from './whose'

export class SendError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message)
  }
}

function problem(xhr: XMLHttpRequest): string {
  try {
    const body: unknown = JSON.parse(xhr.responseText)
    if (typeof body === 'object' && body !== null && 'detail' in body && typeof body.detail === 'string') return body.detail
  } catch {
    // Not JSON: a proxy answered. The sentences below then say what is known.
  }
  if (xhr.status === 413) return 'The server takes no request of this size. Ask for a higher HILUM_MAX_UPLOAD_BYTES.'
  return `The server answered ${xhr.status} and did not say why.`
}

export function send(
  files: readonly Picked[],
  source: string | undefined,
  whose: Whose | undefined,
  onSent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Job> {
  return new Promise((resolve, reject) => {
    const form = new FormData()
    if (source) form.append('source', source)
    for (const [name, value] of fields(whose)) form.append(name, value)
    for (const { file, path } of files) form.append('files', file, path)
    const xhr = new XMLHttpRequest()
    const abort = () => xhr.abort()
    signal.addEventListener('abort', abort)
    xhr.open('POST', '/api/v1/imaging/uploads')
    xhr.upload.onprogress = (event) => onSent(event.loaded)
    xhr.onload = () => {
      if (xhr.status >= 200 && xhr.status < 300) resolve(JSON.parse(xhr.responseText) as Job)
      else reject(new SendError(problem(xhr), xhr.status))
    }
    xhr.onerror = () =>
      reject(new SendError('The connection was lost, or a file could not be read. What was sent before is safe.', 0))
    xhr.onabort = () => reject(new DOMException('Cancelled', 'AbortError'))
    xhr.onloadend = () => signal.removeEventListener('abort', abort)
    if (signal.aborted) {
      reject(new DOMException('Cancelled', 'AbortError'))
      return
    }
    xhr.send(form)
  })
}
