import classes from './common.module.css'

/** A modality's code; its name on hover and for screen readers. */
export function ModalityBadge({ code, name }: { code: string; name?: string | null }) {
  return (
    <abbr className={classes.modality} title={name ?? code}>
      {code}
    </abbr>
  )
}
