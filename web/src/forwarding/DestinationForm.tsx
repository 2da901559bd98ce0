/** Name a destination, or change one: where it is, who we are there, and how it likes to be sent to. */
import { Checkbox, Modal, NumberInput, SegmentedControl, Select, Textarea, TextInput } from '@mantine/core'
import { useState } from 'react'
import { api, queryClient } from '../api/client'
import type { Destination, DestinationIn } from '../api/types'
import { transferSyntax } from '../common/format'
import { FormFoot } from '../settings/FormFoot'
import { LoginFields } from '../settings/LoginFields'
import classes from '../settings/settings.module.css'

type Address = DestinationIn['address']
type Login = Destination['credentials']
type Secrets = Partial<Record<'username' | 'password' | 'token' | 'certificate' | 'private_key', string>>

const NEW: Address = {
  url: '', base_url: '', host: '', port: 104, called_ae_title: '', calling_ae_title: 'HILUM', tls: false, tls_ca: '', transfer_syntax_uid: '',
  timeout_seconds: 60, retry_seconds: 5, max_attempts: 8,
}
const SYNTAXES = ['1.2.840.10008.1.2.1', '1.2.840.10008.1.2.4.70', '1.2.840.10008.1.2.4.80', '1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.201', '1.2.840.10008.1.2.5']
const LOGINS: { value: Login; label: string }[] = [
  { value: 'none', label: 'Nothing' },
  { value: 'basic', label: 'User name and password' },
  { value: 'bearer', label: 'Token' },
  { value: 'certificate', label: 'Certificate (TLS)' },
]

function Credentials({ login, secrets, onChange }: { login: Login; secrets: Secrets; onChange: (secrets: Secrets) => void }) {
  const set = (part: Secrets) => onChange({ ...secrets, ...part })
  return (
    <>
      <LoginFields kind={login} secrets={secrets} onChange={set} />
      {login === 'certificate' && (
        <>
          <Textarea label="Certificate" description="PEM" required rows={3} value={secrets.certificate ?? ''} onChange={(e) => set({ certificate: e.currentTarget.value })} />
          <Textarea label="Private key" description="PEM, not encrypted" required rows={3} value={secrets.private_key ?? ''} onChange={(e) => set({ private_key: e.currentTarget.value })} />
        </>
      )}
    </>
  )
}

export function DestinationForm({ destination, onClose }: { destination: Destination | undefined; onClose: () => void }) {
  const [name, setName] = useState(destination?.name ?? '')
  const [kind, setKind] = useState<Destination['kind']>(destination?.kind ?? 'stow')
  const [address, setAddress] = useState<Address>(destination?.address ?? NEW)
  const [login, setLogin] = useState<Login | 'kept'>(destination && destination.credentials !== 'none' ? 'kept' : 'none')
  const [secrets, setSecrets] = useState<Secrets>({})
  const add = api.useMutation('post', '/api/v1/imaging/destinations')
  const patch = api.useMutation('patch', '/api/v1/imaging/destinations/{destination}')
  const set = (part: Partial<Address>) => setAddress({ ...address, ...part })
  const done = { onSuccess: () => void queryClient.invalidateQueries().then(onClose) }
  const save = () => {
    const credentials = login === 'kept' ? {} : { credentials: login === 'none' ? {} : secrets }
    if (destination) patch.mutate({ params: { path: { destination: destination.id } }, body: { name, address, ...credentials } }, done)
    else add.mutate({ body: { name, kind, address, ...credentials } }, done)
  }
  const logins = [
    ...(destination && destination.credentials !== 'none' ? [{ value: 'kept', label: 'What it asks for now' }] : []),
    ...LOGINS.filter(({ value }) => kind === 'stow' || value === 'none' || value === 'certificate'),
  ]
  return (
    <Modal opened onClose={onClose} title={destination ? `Edit ${destination.name}` : 'Add a destination'} size={560} centered>
      <form
        className={classes.form}
        onSubmit={(event) => {
          event.preventDefault()
          save()
        }}
      >
        <TextInput label="Name" required maxLength={100} data-autofocus value={name} onChange={(e) => setName(e.currentTarget.value)} />
        {!destination && (
          <SegmentedControl
            aria-label="How it is sent to"
            value={kind}
            onChange={(value) => setKind(value === 'cstore' ? 'cstore' : 'stow')}
            data={[
              { value: 'stow', label: 'DICOMweb (STOW-RS)' },
              { value: 'cstore', label: 'DICOM (C-STORE)' },
            ]}
          />
        )}
        {kind === 'stow' ? (
          <TextInput
            label="Address"
            description="The root of its DICOMweb service, under which /studies is."
            placeholder="https://pacs.example/dicom-web"
            required
            type="url"
            value={address.url}
            onChange={(e) => set({ url: e.currentTarget.value })}
          />
        ) : (
          <>
            <div className={classes.pair}>
              <TextInput label="Host" required placeholder="pacs.example" value={address.host} onChange={(e) => set({ host: e.currentTarget.value })} />
              <NumberInput label="Port" required min={1} max={65535} value={address.port} onChange={(port) => set({ port: Number(port) })} />
            </div>
            <div className={classes.pair}>
              <TextInput label="Its AE title" required maxLength={16} value={address.called_ae_title} onChange={(e) => set({ called_ae_title: e.currentTarget.value })} />
              <TextInput label="Our AE title" required maxLength={16} value={address.calling_ae_title} onChange={(e) => set({ calling_ae_title: e.currentTarget.value })} />
            </div>
            <Checkbox label="It speaks DICOM over TLS" checked={address.tls} onChange={(e) => set({ tls: e.currentTarget.checked })} />
          </>
        )}
        <Select
          label="It asks for"
          allowDeselect={false}
          data={logins}
          value={login}
          onChange={(value) => setLogin(value === 'kept' ? 'kept' : (LOGINS.find((one) => one.value === value)?.value ?? 'none'))}
        />
        {login !== 'kept' && <Credentials login={login} secrets={secrets} onChange={setSecrets} />}
        <details className={classes.more}>
          <summary>More</summary>
          <div className={classes.form}>
            {kind === 'stow' && (
              <TextInput
                label="Send by another address"
                description="Such as a tunnel to it; empty: by the one above."
                type="url"
                value={address.base_url}
                onChange={(e) => set({ base_url: e.currentTarget.value })}
              />
            )}
            <Select
              label="Transfer syntax"
              placeholder="As stored, where it takes that"
              clearable
              data={SYNTAXES.map((uid) => ({ value: uid, label: transferSyntax(uid) }))}
              value={address.transfer_syntax_uid || null}
              onChange={(uid) => set({ transfer_syntax_uid: uid ?? '' })}
            />
            <div className={classes.triple}>
              <NumberInput label="Answers within" suffix=" s" min={1} max={3600} value={address.timeout_seconds} onChange={(n) => set({ timeout_seconds: Number(n) })} />
              <NumberInput label="First wait" suffix=" s" min={0.1} max={3600} value={address.retry_seconds} onChange={(n) => set({ retry_seconds: Number(n) })} />
              <NumberInput label="Attempts" min={1} max={1000} value={address.max_attempts} onChange={(n) => set({ max_attempts: Number(n) })} />
            </div>
            <Textarea
              label="Who vouches for it"
              description="Certificates in PEM; empty: those whom this machine trusts."
              rows={3}
              value={address.tls_ca}
              onChange={(e) => set({ tls_ca: e.currentTarget.value })}
            />
          </div>
        </details>
        <FormFoot error={add.error ?? patch.error} busy={add.isPending || patch.isPending} label={destination ? 'Save' : 'Add'} onClose={onClose} />
      </form>
    </Modal>
  )
}
