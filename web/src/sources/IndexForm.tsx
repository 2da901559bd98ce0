/** Which studies of a source's remote archive to index. */
import { Button, Checkbox, Modal, NumberInput, TextInput } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Source } from '../api/types'
import { Failed } from '../common/Failed'
import classes from '../settings/settings.module.css'

export function IndexForm({ source, onClose }: { source: Source; onClose: () => void }) {
  const [all, setAll] = useState(false)
  const [limit, setLimit] = useState<string | number>(100)
  const [modality, setModality] = useState('')
  const [series, setSeries] = useState(true)
  const navigate = useNavigate()
  const index = api.useMutation('post', '/api/v1/imaging/studies/index-from-dicomweb')
  const begin = () =>
    index.mutate(
      { body: { source: source.key, all, limit: Number(limit), modality: modality ? modality.toUpperCase() : null, series } },
      { onSuccess: () => void queryClient.invalidateQueries().then(() => navigate({ to: '/jobs' })) },
    )
  return (
    <Modal opened onClose={onClose} title={`Index the remote archive of ${source.name}`} size={480} centered>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          begin()
        }}
      >
        <p className={classes.words}>Its studies become known here, and their images stay there. What lies here is not touched.</p>
        <div className={classes.pair}>
          <NumberInput label="Studies at most" required={!all} disabled={all} min={1} max={1000} allowDecimal={false} value={limit} onChange={setLimit} />
          <TextInput label="Modality" placeholder="Every modality" maxLength={16} value={modality} onChange={(e) => setModality(e.currentTarget.value)} />
        </div>
        <Checkbox label="All there are" checked={all} onChange={(e) => setAll(e.currentTarget.checked)} />
        <Checkbox label="With the series of each study" description="They are needed for image_occurrence." checked={series} onChange={(e) => setSeries(e.currentTarget.checked)} />
        <Failed error={index.error} />
        <div className={classes.buttons}>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={index.isPending}>
            Index
          </Button>
        </div>
      </form>
    </Modal>
  )
}
