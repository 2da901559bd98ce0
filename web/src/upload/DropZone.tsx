/** The whole page takes a drop; while something is dragged over it, it says so. */
import { useEffect, useState } from 'react'
import { IconFolderDown } from '@tabler/icons-react'
import { fromDrop } from './collect'
import { uploads } from './store'
import classes from './upload.module.css'

function carriesFiles(event: DragEvent): boolean {
  return Array.from(event.dataTransfer?.types ?? []).includes('Files')
}

export function DropZone() {
  const [over, setOver] = useState(false)
  useEffect(() => {
    let depth = 0
    const enter = (event: DragEvent) => {
      if (!carriesFiles(event)) return
      depth += 1
      setOver(true)
    }
    const leave = () => {
      depth = Math.max(0, depth - 1)
      if (!depth) setOver(false)
    }
    const move = (event: DragEvent) => {
      if (carriesFiles(event)) event.preventDefault()
    }
    const drop = (event: DragEvent) => {
      depth = 0
      setOver(false)
      const transfer = event.dataTransfer
      if (!transfer || !carriesFiles(event)) return
      event.preventDefault()
      void uploads.add((onFound) => fromDrop(transfer, onFound))
    }
    window.addEventListener('dragenter', enter)
    window.addEventListener('dragleave', leave)
    window.addEventListener('dragover', move)
    window.addEventListener('drop', drop)
    return () => {
      window.removeEventListener('dragenter', enter)
      window.removeEventListener('dragleave', leave)
      window.removeEventListener('dragover', move)
      window.removeEventListener('drop', drop)
    }
  }, [])
  if (!over) return null
  return (
    <div className={classes.veil} aria-hidden>
      <div className={classes.target}>
        <IconFolderDown size={44} stroke={1.4} />
        <strong>Drop to import</strong>
        <span>A folder with everything below it, single files, or a zip</span>
      </div>
    </div>
  )
}
