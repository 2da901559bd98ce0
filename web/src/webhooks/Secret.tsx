/** The signing secret of a new webhook: it is shown here, and nowhere again. */
import { Button, CopyButton, Modal } from '@mantine/core'
import { IconCheck, IconCopy } from '@tabler/icons-react'
import type { CreatedWebhook } from '../api/types'
import classes from '../settings/settings.module.css'

export function Secret({ hook, onClose }: { hook: CreatedWebhook; onClose: () => void }) {
  return (
    <Modal opened onClose={onClose} title="The webhook is there" size={560} centered closeOnClickOutside={false} closeOnEscape={false} withCloseButton={false}>
      <div className={classes.form}>
        <p className={classes.words}>
          Its receiver knows by this secret that an event comes from here. It is shown only now: put it where the receiver finds it.
        </p>
        <code className={classes.sentence} data-testid="secret">
          {hook.secret}
        </code>
        <div className={classes.buttons}>
          <CopyButton value={hook.secret}>
            {({ copied, copy }) => (
              <Button variant="default" data-autofocus leftSection={copied ? <IconCheck size={15} /> : <IconCopy size={15} />} onClick={copy}>
                {copied ? 'Copied' : 'Copy'}
              </Button>
            )}
          </CopyButton>
          <Button onClick={onClose}>I have it</Button>
        </div>
      </div>
    </Modal>
  )
}
