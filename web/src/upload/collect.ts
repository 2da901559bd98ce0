/**
 * What a person dropped or picked, as a flat list of files with their paths, cut into requests that a server takes comfortably.
 * Knows nothing of DICOM: what a file is, the server decides by its content and answers with a reason for each that it leaves out.
 */
export interface Picked {
  file: File
  /** Path relative to what was dropped, with `/` between folders. */
  path: string
}

/** Limits of one request: a folder of thousands of files goes as many small requests, each a job of its own. */
export const REQUEST_FILES = 100
export const REQUEST_BYTES = 200_000_000

export function isZip(name: string): boolean {
  return /\.zip$/i.test(name)
}

/** Cuts a list into requests. A zip, and a file over the limit of bytes, goes alone; the order is kept. */
export function requests<T extends { path: string; file: { size: number } }>(
  picked: readonly T[],
  maxFiles = REQUEST_FILES,
  maxBytes = REQUEST_BYTES,
): T[][] {
  const out: T[][] = []
  let current: T[] = []
  let size = 0
  const close = () => {
    if (current.length) out.push(current)
    current = []
    size = 0
  }
  for (const item of picked) {
    if (isZip(item.path)) {
      close()
      out.push([item])
      continue
    }
    if (current.length >= maxFiles || (current.length && size + item.file.size > maxBytes)) close()
    current.push(item)
    size += item.file.size
  }
  close()
  return out
}

export function fromFiles(files: Iterable<File>): Picked[] {
  return Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }))
}

async function children(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader()
  const all: FileSystemEntry[] = []
  for (;;) {
    // The reader hands out at most a hundred entries at a time, and an empty list at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (!some.length) return all
    all.push(...some)
  }
}

async function walk(entry: FileSystemEntry, out: Picked[], onFound: (n: number) => void): Promise<void> {
  const path = entry.fullPath.replace(/^\//, '')
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    out.push({ file, path })
    if (out.length % 50 === 0) onFound(out.length)
  } else if (entry.isDirectory) {
    for (const child of await children(entry as FileSystemDirectoryEntry)) await walk(child, out, onFound)
  }
}

/** Everything below what was dropped. The entries must be taken before the first `await`: the browser empties the list after the event. */
export async function fromDrop(transfer: DataTransfer, onFound: (n: number) => void = () => undefined): Promise<Picked[]> {
  const items = Array.from(transfer.items).filter((item) => item.kind === 'file')
  const taken = items.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }))
  const out: Picked[] = []
  for (const { entry, file } of taken) {
    if (entry) await walk(entry, out, onFound)
    else if (file) out.push({ file, path: file.name })
  }
  return out
}
