/** Keys of a page: what a key does, while nobody is typing into a field or choosing from a menu. */
import { useEffect, useRef } from 'react'

export type KeyMap = Record<string, (event: KeyboardEvent) => void>

/** The name of a stroke: `j`, `ArrowDown`, `Ctrl+ArrowUp`, `Shift+ArrowLeft`. Shift is named only for keys that do not show it themselves. */
export function stroke(event: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey'>): string {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  return [
    event.ctrlKey || event.metaKey ? 'Ctrl+' : '',
    event.altKey ? 'Alt+' : '',
    event.shiftKey && event.key.length > 1 ? 'Shift+' : '',
    key,
  ].join('')
}

const OWN_KEYS =
  'input:not([type=range], [type=checkbox]), textarea, select, [role=menu], [role=listbox], [role=dialog], [role=tab], [role=slider]:not([data-page-keys])'

/** Whether whatever has the focus wants this stroke for itself: a field, a menu, a dialog; Space and Enter also a button or a link. */
function isTaken({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target.isContentEditable || target.closest(OWN_KEYS)) return true
  // A dialog keeps the keys also when what had the focus in it is gone.
  if (document.querySelector('[role=dialog][aria-modal=true]')) return true
  return (key === ' ' || key === 'Enter') && target.closest('a, button, summary') !== null
}

export function useKeys(keys: KeyMap, enabled = true) {
  const current = useRef(keys)
  useEffect(() => {
    current.current = keys
  })
  useEffect(() => {
    if (!enabled) return
    const down = (event: KeyboardEvent) => {
      if (event.isComposing || isTaken(event)) return
      const act = current.current[stroke(event)]
      if (!act) return
      event.preventDefault()
      act(event)
    }
    // While the event goes down, not up: Cornerstone takes every stroke that reaches its viewport and marks it as done.
    window.addEventListener('keydown', down, { capture: true })
    return () => window.removeEventListener('keydown', down, { capture: true })
  }, [enabled])
}
