/** Free text. What is typed reaches the URL after a short pause; `/` comes here from anywhere on the page, Escape leaves. */
import { CloseButton, Kbd, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { IconSearch } from '@tabler/icons-react'
import { useRef, useState } from 'react'
import { useKeys } from '../common/useKeys'
import classes from './studies.module.css'

const PAUSE_MS = 250

export function SearchBox({ value, onSearch }: { value: string; onSearch: (q: string | undefined) => void }) {
  const [draft, setDraft] = useState<string | null>(null)
  const input = useRef<HTMLInputElement>(null)
  const commit = useDebouncedCallback((text: string) => onSearch(text.trim() || undefined), PAUSE_MS)
  const shown = draft ?? value
  useKeys({ '/': () => input.current?.select() })
  const type = (text: string) => {
    setDraft(text)
    commit(text)
  }
  return (
    <TextInput
      ref={input}
      className={classes.search}
      size="xs"
      type="text"
      role="searchbox"
      aria-label="Search studies"
      placeholder="Description, accession, patient, facility…"
      leftSection={<IconSearch size={15} />}
      rightSection={
        shown ? (
          <CloseButton
            size="xs"
            aria-label="Clear the search"
            onClick={() => {
              type('')
              input.current?.focus()
            }}
          />
        ) : (
          <Kbd size="xs" aria-hidden>
            /
          </Kbd>
        )
      }
      value={shown}
      onChange={(event) => type(event.currentTarget.value)}
      onBlur={() => {
        commit.flush()
        setDraft(null)
      }}
      onKeyDown={(event) => {
        if (event.key === 'Enter') commit.flush()
        if (event.key === 'Escape') event.currentTarget.blur()
      }}
    />
  )
}
