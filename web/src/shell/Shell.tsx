/** What surrounds every page: the mark, the way around, what the archive holds, light or dark, and the upload wherever one is. */
import { Link, Outlet, useLocation } from '@tanstack/react-router'
import { api } from '../api/client'
import { bytes, count } from '../common/format'
import { DoneToast } from '../links/DoneToast'
import { DeletedToast } from '../study/DeletedToast'
import { DropZone } from '../upload/DropZone'
import { UploadTray } from '../upload/UploadTray'
import { Mark } from './Mark'
import { ThemeToggle } from './ThemeToggle'
import classes from './shell.module.css'

function ArchiveFigures() {
  const { data } = api.useQuery('get', '/api/v1/imaging/stats', {}, { staleTime: 15_000, refetchInterval: 60_000 })
  if (!data) return <div className={classes.figures} aria-hidden />
  const figures = [
    [count(data.studies), data.studies === 1 ? 'study' : 'studies'],
    [count(data.images), data.images === 1 ? 'image' : 'images'],
    [bytes(data.bytes), ''],
  ]
  return (
    <div className={classes.figures} data-testid="archive-figures" title="What this archive holds">
      {figures.map(([figure, unit]) => (
        <span key={unit}>
          <b>{figure}</b> {unit}
        </span>
      ))}
    </div>
  )
}

export function Shell() {
  const { pathname } = useLocation()
  // The viewer takes the whole window and is dark whatever the scheme: a radiograph is read in a dark room.
  if (/^\/imaging\/[^/]+\/view\/?$/.test(pathname)) return <Outlet />
  return (
    <>
      <a href="#main" className={classes.skip}>
        Skip to the content
      </a>
      <header className={classes.header}>
        <Link to="/imaging" search={{}} className={classes.brand} aria-label="Hilum, to the study list">
          <Mark />
          <span>Hilum</span>
        </Link>
        <nav className={classes.nav} aria-label="Pages">
          <Link to="/imaging" activeOptions={{ exact: false, includeSearch: false }} activeProps={{ 'aria-current': 'page' }} search={{}}>
            Imaging
          </Link>
          <Link to="/links" activeOptions={{ exact: false, includeSearch: false }} activeProps={{ 'aria-current': 'page' }} search={{}}>
            Links
          </Link>
          <Link to="/jobs" activeOptions={{ exact: false, includeSearch: false }} activeProps={{ 'aria-current': 'page' }} search={{}}>
            Jobs
          </Link>
          <Link to="/settings" activeOptions={{ exact: false, includeSearch: false }} activeProps={{ 'aria-current': 'page' }} search={{}}>
            Settings
          </Link>
        </nav>
        <ArchiveFigures />
        <ThemeToggle />
      </header>
      <main id="main" className={classes.main}>
        <Outlet />
      </main>
      <UploadTray />
      <DeletedToast />
      <DoneToast />
      <DropZone />
    </>
  )
}
