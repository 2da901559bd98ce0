import { PasswordInput, TextInput } from '@mantine/core'
import classes from './settings.module.css'

type Part = 'username' | 'password' | 'token'

interface LoginFieldsProps {
  kind: string
  secrets: Partial<Record<Part, string | null | undefined>>
  onChange: (part: Partial<Record<Part, string>>) => void
}

/** What another server asks for by HTTP: a user name and password, or a token. What is held already is never shown. */
export function LoginFields({ kind, secrets, onChange }: LoginFieldsProps) {
  if (kind === 'basic')
    return (
      <div className={classes.pair}>
        <TextInput label="User name" required value={secrets.username ?? ''} autoComplete="off" onChange={(e) => onChange({ username: e.currentTarget.value })} />
        <PasswordInput label="Password" required value={secrets.password ?? ''} autoComplete="new-password" onChange={(e) => onChange({ password: e.currentTarget.value })} />
      </div>
    )
  if (kind === 'bearer')
    return <PasswordInput label="Token" required value={secrets.token ?? ''} autoComplete="new-password" onChange={(e) => onChange({ token: e.currentTarget.value })} />
  return null
}
