/** What lay beside the images in the bundle that brought the study: reports, pictures, notes. */
import { IconFile, IconFileTypePdf, IconPhoto, IconScan } from '@tabler/icons-react'
import type { BundleFile } from '../api/types'
import { bytes } from '../common/format'
import classes from './study.module.css'

const ICONS = { image: IconPhoto, pdf: IconFileTypePdf, dicom: IconScan, other: IconFile }

export function BundleFiles({ files }: { files: readonly BundleFile[] }) {
  if (!files.length) return <p className={classes.none}>No other file came with this study.</p>
  return (
    <ul className={classes.bundle}>
      {files.map((file) => {
        const Icon = ICONS[file.kind]
        return (
          <li key={file.name}>
            <Icon size={18} stroke={1.5} aria-hidden />
            <a href={file.url} target="_blank" rel="noreferrer">
              {file.name}
            </a>
            <span className="dim">{bytes(file.size)}</span>
          </li>
        )
      })}
    </ul>
  )
}
