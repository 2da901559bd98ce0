/** An error as a sentence, with the way out. */
import { Button } from '@mantine/core'
import { IconAlertCircle } from '@tabler/icons-react'
import { sentence } from '../api/client'
import classes from './common.module.css'

interface Props {
  error: unknown
  title?: string
  onRetry?: () => void
}

export function ErrorNotice({ error, title = 'This could not be loaded', onRetry }: Props) {
  return (
    <div role="alert" className={classes.notice}>
      <IconAlertCircle size={22} stroke={1.6} />
      <div>
        <strong>{title}</strong>
        <p>{sentence(error)}</p>
        {onRetry && (
          <Button size="compact-sm" variant="default" onClick={onRetry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  )
}
