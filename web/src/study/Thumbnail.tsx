/** A series or study in miniature. Where there is no picture (a report, a plan) its modality stands instead. */
import { useState } from 'react'
import type { Series } from '../api/types'
import classes from './study.module.css'

export function Picture({ src, word, size }: { src: string | undefined; word: string; size: number }) {
  const [failed, setFailed] = useState(false)
  const style = { width: size, height: size }
  if (!src || failed)
    return (
      <span className={classes.thumb} style={style} aria-hidden>
        {word || '?'}
      </span>
    )
  return (
    <span className={classes.thumb} style={style}>
      <img src={src} alt="" loading="lazy" decoding="async" onError={() => setFailed(true)} />
    </span>
  )
}

export function Thumbnail({ series, size = 60 }: { series: Series; size?: number }) {
  return <Picture src={series.num_images ? (series.thumbnail_url ?? undefined) : undefined} word={series.modality} size={size} />
}
