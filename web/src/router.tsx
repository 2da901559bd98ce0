/** The pages and the state that each keeps in its URL. The viewer comes as a chunk of its own, so that lists never pay for it. */
import { createRootRoute, createRoute, createRouter, redirect } from '@tanstack/react-router'
import { parseSearch, stringifySearch } from './common/search'
import { ErrorNotice } from './common/ErrorNotice'
import { NotFound } from './common/NotFound'
import { JobsPage } from './jobs/JobsPage'
import { jobsSearch } from './jobs/search'
import { LinksPage } from './links/LinksPage'
import { linksSearch } from './links/search'
import { SettingsPage } from './settings/SettingsPage'
import { settingsSearch } from './settings/search'
import { Shell } from './shell/Shell'
import { StudiesPage } from './studies/StudiesPage'
import { studiesSearch } from './studies/search'
import { StudyPage } from './study/StudyPage'
import { studySearch } from './study/search'
import { viewerSearch } from './viewer/search'

const root = createRootRoute({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: ({ error }) => <ErrorNotice error={error} title="This page broke" onRetry={() => window.location.reload()} />,
})

const home = createRoute({
  getParentRoute: () => root,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/imaging', replace: true })
  },
})

const imaging = createRoute({
  getParentRoute: () => root,
  path: '/imaging',
  validateSearch: studiesSearch,
  component: StudiesPage,
})

const study = createRoute({
  getParentRoute: () => root,
  path: '/imaging/$studyId',
  validateSearch: studySearch,
  component: StudyPage,
})

const viewer = createRoute({
  getParentRoute: () => root,
  path: '/imaging/$studyId/view',
  validateSearch: viewerSearch,
}).lazy(() => import('./viewer/route').then((module) => module.Route))

const jobs = createRoute({ getParentRoute: () => root, path: '/jobs', validateSearch: jobsSearch, component: JobsPage })

const links = createRoute({ getParentRoute: () => root, path: '/links', validateSearch: linksSearch, component: LinksPage })

const settings = createRoute({ getParentRoute: () => root, path: '/settings', validateSearch: settingsSearch, component: SettingsPage })

export const router = createRouter({
  routeTree: root.addChildren([home, imaging, study, viewer, links, jobs, settings]),
  parseSearch,
  stringifySearch,
  scrollRestoration: true,
  defaultPreload: false,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
}
