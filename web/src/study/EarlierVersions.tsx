/** What instances were before other bytes came under their SOP Instance UID: kept, and to be had back as files. */
import { api } from '../api/client'
import type { StudyDetail } from '../api/types'
import { Download } from '../common/Download'
import { ErrorNotice } from '../common/ErrorNotice'
import { ago, bytes, moment, origin } from '../common/format'
import { Pager } from '../common/Pager'
import { SkeletonRows } from '../common/Skeletons'
import { INSTANCE_PAGE } from './search'
import classes from './study.module.css'

export function useEarlierVersions(study: StudyDetail | undefined, page: number) {
  return api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/replaced',
    { params: { path: { study: String(study?.id) }, query: { limit: INSTANCE_PAGE, offset: (page - 1) * INSTANCE_PAGE } } },
    { enabled: study !== undefined },
  )
}

interface Props {
  versions: ReturnType<typeof useEarlierVersions>
  page: number
  onPage: (page: number) => void
}

export function EarlierVersions({ versions: { data, error, refetch }, page, onPage }: Props) {
  if (error && !data) return <ErrorNotice error={error} title="The earlier versions could not be loaded" onRetry={() => void refetch()} />
  if (data?.total === 0) return <p className={classes.none}>No instance of this study has been replaced.</p>
  return (
    <>
      <div className={classes.scroll}>
        <table className={`table ${classes.versions}`} aria-label="Earlier versions" aria-busy={!data}>
          <thead>
            <tr>
              <th scope="col" style={{ width: '7.4rem' }}>
                <span>Replaced</span>
              </th>
              <th scope="col" style={{ width: '7.4rem' }}>
                <span>Received</span>
              </th>
              <th scope="col" className="right" style={{ width: '5.6rem' }}>
                <span>Size</span>
              </th>
              <th scope="col" style={{ width: '6.4rem' }}>
                <span>Came by</span>
              </th>
              <th scope="col">
                <span>SOP Instance UID</span>
              </th>
              <th scope="col" style={{ width: '3rem' }}>
                <span className="sr-only">Download</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {!data && <SkeletonRows rows={5} columns={6} />}
            {data?.items.map((version) => (
              <tr key={version.id} data-testid="earlier-version">
                <td title={moment(version.replaced_at)}>{ago(version.replaced_at)}</td>
                <td title={moment(version.received_at)}>{ago(version.received_at)}</td>
                <td className="right">{bytes(version.size)}</td>
                <td>{origin(version.origin)}</td>
                <td>
                  <div className="mono ellipsis" title={version.sop_instance_uid}>
                    {version.sop_instance_uid}
                  </div>
                </td>
                <td>
                  <Download href={version.file_url} name={`${version.sop_instance_uid}.dcm`} label={`Download the version received ${moment(version.received_at)}`} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {data && <Pager page={page} size={INSTANCE_PAGE} total={data.total} noun="versions" onPage={onPage} />}
    </>
  )
}
