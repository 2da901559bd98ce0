/** Where the remote archive of a source is, what it asks for, and what is fetched from it. */
import { Button, Modal, NumberInput, PasswordInput, Select, TagsInput, Textarea, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Source, SourceChange } from '../api/types'
import { Failed } from '../common/Failed'
import { LoginFields } from '../settings/LoginFields'
import classes from '../settings/settings.module.css'
import { FETCH, LOGINS } from './text'

type Login = Source['dicomweb_credentials']
type Secrets = NonNullable<SourceChange['dicomweb_credentials']>

const GIGABYTE = 1e9

function Credentials({ login, secrets, onChange }: { login: Login; secrets: Secrets; onChange: (secrets: Secrets) => void }) {
  const set = (part: Secrets) => onChange({ ...secrets, ...part })
  return (
    <>
      <LoginFields kind={login} secrets={secrets} onChange={set} />
      {login === 'oidc' && (
        <>
          <TextInput
            label="Token address"
            type="url"
            required
            placeholder="https://sso.example/token"
            value={secrets.token_url ?? ''}
            onChange={(e) => set({ token_url: e.currentTarget.value })}
          />
          <div className={classes.pair}>
            <TextInput label="Client" required value={secrets.client_id ?? ''} autoComplete="off" onChange={(e) => set({ client_id: e.currentTarget.value })} />
            <PasswordInput
              label="Client secret"
              required
              value={secrets.client_secret ?? ''}
              autoComplete="new-password"
              onChange={(e) => set({ client_secret: e.currentTarget.value })}
            />
          </div>
          <TextInput label="Scope" value={secrets.scope ?? ''} onChange={(e) => set({ scope: e.currentTarget.value })} />
        </>
      )}
    </>
  )
}

export function SourceForm({ source, onClose }: { source: Source; onClose: () => void }) {
  const [name, setName] = useState(source.name)
  const [url, setUrl] = useState(source.dicomweb_url)
  const [ca, setCa] = useState(source.dicomweb_ca)
  const [login, setLogin] = useState<Login | 'kept'>(source.dicomweb_credentials === 'none' ? 'none' : 'kept')
  const [secrets, setSecrets] = useState<Secrets>({})
  const [fetch, setFetch] = useState(source.fetch)
  const [modalities, setModalities] = useState(source.fetch_modalities)
  const [days, setDays] = useState<string | number>(source.keep_days ?? '')
  const [size, setSize] = useState<string | number>(source.keep_bytes === null ? '' : source.keep_bytes / GIGABYTE)
  const patch = api.useMutation('patch', '/api/v1/imaging/sources/{key}')
  const save = () => {
    const credentials = login === 'kept' ? {} : { dicomweb_credentials: login === 'none' ? {} : secrets }
    const body = {
      name, dicomweb_url: url, dicomweb_ca: ca, fetch, fetch_modalities: modalities,
      keep_days: days === '' ? null : Number(days), keep_bytes: size === '' ? null : Math.round(Number(size) * GIGABYTE), ...credentials,
    }
    patch.mutate({ params: { path: { key: source.key } }, body }, { onSuccess: () => void queryClient.invalidateQueries().then(onClose) })
  }
  const logins = [...(source.dicomweb_credentials === 'none' ? [] : [{ value: 'kept', label: 'What it asks for now' }]), ...LOGINS]
  return (
    <Modal opened onClose={onClose} title={`Edit ${source.name}`} size={560} centered>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <TextInput label="Name" required maxLength={200} value={name} onChange={(e) => setName(e.currentTarget.value)} />
        <TextInput
          label="Remote archive"
          description="The root of its DICOMweb service; empty: there is none."
          placeholder="https://pacs.example/dicom-web"
          type="url"
          data-autofocus
          value={url}
          onChange={(e) => setUrl(e.currentTarget.value)}
        />
        <Select
          label="It asks for"
          allowDeselect={false}
          data={logins}
          value={login}
          onChange={(value) => {
            setSecrets({})
            setLogin(value === 'kept' ? 'kept' : (LOGINS.find((one) => one.value === value)?.value ?? 'none'))
          }}
        />
        {login !== 'kept' && <Credentials login={login} secrets={secrets} onChange={setSecrets} />}
        <Select
          label="Images are fetched"
          allowDeselect={false}
          data={FETCH}
          value={fetch}
          onChange={(value) => setFetch(FETCH.find((one) => one.value === value)?.value ?? 'asked')}
        />
        {fetch === 'indexed' && (
          <TagsInput
            label="Modalities"
            placeholder={modalities.length ? '' : 'Every modality'}
            value={modalities}
            onChange={(given) => setModalities(given.map((one) => one.toUpperCase()))}
            acceptValueOnBlur
          />
        )}
        {fetch !== 'never' && (
          <div className={classes.pair}>
            <NumberInput label="Kept for" placeholder="Ever" suffix=" days" min={0} max={36500} allowDecimal={false} value={days} onChange={setDays} />
            <NumberInput label="Together up to" placeholder="All of them" suffix=" GB" min={0} max={1e9} value={size} onChange={setSize} />
          </div>
        )}
        <details className={classes.more}>
          <summary>More</summary>
          <Textarea
            label="Who vouches for it"
            description="Certificates in PEM, beside those whom this machine trusts."
            rows={3}
            value={ca}
            onChange={(e) => setCa(e.currentTarget.value)}
          />
        </details>
        <Failed error={patch.error} />
        <div className={classes.buttons}>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" loading={patch.isPending}>
            Save
          </Button>
        </div>
      </form>
    </Modal>
  )
}
