/** A file to be had, as the last cell of its row. */
import { ActionIcon } from '@mantine/core'
import { IconDownload } from '@tabler/icons-react'

export function Download({ href, name = '', label }: { href: string; name?: string; label: string }) {
  return (
    <ActionIcon size="sm" variant="subtle" color="gray" component="a" href={href} download={name} aria-label={label}>
      <IconDownload size={15} />
    </ActionIcon>
  )
}
