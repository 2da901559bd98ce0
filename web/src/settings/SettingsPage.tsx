/** What a person sets for the whole platform, a section each. */
import { Tabs } from '@mantine/core'
import { getRouteApi } from '@tanstack/react-router'
import { Deliveries } from '../deliveries/Deliveries'
import { Forwarding } from '../forwarding/Forwarding'
import { Sources } from '../sources/Sources'
import { Webhooks } from '../webhooks/Webhooks'
import { SECTIONS, type SettingsSearch } from './search'

const route = getRouteApi('/settings')

export function SettingsPage() {
  const search = route.useSearch()
  const navigate = route.useNavigate()
  const change = (part: Partial<SettingsSearch>) => void navigate({ search: (before) => ({ ...before, ...part }), replace: true, resetScroll: false })
  return (
    <section className="panel" aria-label="Settings">
      <h1 className="sr-only">Settings</h1>
      <Tabs
        value={search.section ?? SECTIONS[0]}
        keepMounted={false}
        onChange={(section) => void navigate({ search: { section: SECTIONS.find((one) => one === section) } })}
      >
        <Tabs.List className="tabs">
          <Tabs.Tab value="forwarding">Forwarding</Tabs.Tab>
          <Tabs.Tab value="webhooks">Webhooks</Tabs.Tab>
          <Tabs.Tab value="deliveries">Deliveries</Tabs.Tab>
          <Tabs.Tab value="sources">Sources</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="forwarding">
          <Forwarding search={search} onChange={change} />
        </Tabs.Panel>
        <Tabs.Panel value="webhooks">
          <Webhooks />
        </Tabs.Panel>
        <Tabs.Panel value="sources">
          <Sources />
        </Tabs.Panel>
        <Tabs.Panel value="deliveries">
          <Deliveries search={search} onChange={change} />
        </Tabs.Panel>
      </Tabs>
    </section>
  )
}
