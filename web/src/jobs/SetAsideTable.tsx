/** Files that could not be taken: kept as they came, each with its reason, to be downloaded and mended. */
import { IconMoodCheck } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { api } from '../api/client'
import { Download } from '../common/Download'
import { ErrorNotice } from '../common/ErrorNotice'
import common from '../common/common.module.css'
import { ago, bytes, moment, origin } from '../common/format'
import { Pager } from '../common/Pager'
import { SkeletonRows } from '../common/Skeletons'
import { PAGE_SIZE } from './search'
import classes from './jobs.module.css'

export function SetAsideTable({ page, onPage }: { page: number; onPage: (page: number) => void }) {
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/set-aside',
    { params: { query: { limit: PAGE_SIZE, offset: (page - 1) * PAGE_SIZE } } },
    { placeholderData: keepPreviousData },
  )
  if (error && !data) return <ErrorNotice error={error} title="The files could not be listed" onRetry={() => void refetch()} />
  if (data?.total === 0)
    return (
      <div className={common.empty}>
        <IconMoodCheck size={42} stroke={1.4} />
        <h2>Nothing is set aside</h2>
        <p>A file that is DICOM but cannot be placed (no StudyInstanceUID, cut off, unreadable) is kept here with its reason instead of being lost.</p>
      </div>
    )
  return (
    <>
      <div className={classes.scroll}>
        <table className={`table ${classes.aside}`} aria-label="Files set aside" aria-busy={!data}>
          <thead>
            <tr>
              <th scope="col">
                <span>Reason</span>
              </th>
              <th scope="col" style={{ width: '26%' }}>
                <span>Name</span>
              </th>
              <th scope="col" style={{ width: '8rem' }}>
                <span>Came by</span>
              </th>
              <th scope="col" style={{ width: '8rem' }}>
                <span>Source</span>
              </th>
              <th scope="col" className="right" style={{ width: '6rem' }}>
                <span>Size</span>
              </th>
              <th scope="col" style={{ width: '8rem' }}>
                <span>Received</span>
              </th>
              <th scope="col" style={{ width: '3rem' }}>
                <span className="sr-only">Download</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {!data && <SkeletonRows rows={8} columns={7} />}
            {data?.items.map((file) => (
              <tr key={file.id} data-testid="set-aside-row">
                <td>{file.reason}</td>
                <td className={classes.fileName}>{file.name}</td>
                <td>{origin(file.origin)}</td>
                <td>{file.source}</td>
                <td className="right">{bytes(file.size)}</td>
                <td title={moment(file.received_at)}>{ago(file.received_at)}</td>
                <td>
                  <Download href={file.file_url} label="Download the file" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {data && <Pager page={page} size={PAGE_SIZE} total={data.total} noun="files" onPage={onPage} />}
    </>
  )
}
