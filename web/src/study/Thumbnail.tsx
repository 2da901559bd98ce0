/** A series in miniature. Where there is no picture (a report, a plan) its modality stands instead. */
import { useState } from 'react'
import type { Series } from '../api/types'
import classes from './study.module.css'

export function Thumbnail({ series, size = 60 }: { series: Series; size?: number }) {
  const [failed, setFailed] = useState(false)
  const style = { width: size, height: size }
  if (!series.num_images || !series.thumbnail_url || failed)
    return (
      <span className={classes.thumb} style={style} aria-hidden>
        {series.modality || '?'}
      </span>
    )
  return (
    <span className={classes.thumb} style={style}>
      <img src={series.thumbnail_url} alt="" loading="lazy" decoding="async" onError={() => setFailed(true)} />
    </span>
  )
}
