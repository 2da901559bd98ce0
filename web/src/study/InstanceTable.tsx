/** The instances of a series, as the archive holds them, each to be downloaded or looked at. */
import { ActionIcon } from '@mantine/core'
import { IconDownload, IconEye } from '@tabler/icons-react'
import { keepPreviousData } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { api } from '../api/client'
import type { Series, StudyDetail } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { bytes, count, NONE, transferSyntax } from '../common/format'
import { Pager } from '../common/Pager'
import { SkeletonRows } from '../common/Skeletons'
import { SortHeader } from '../common/SortHeader'
import { INSTANCE_PAGE, INSTANCE_SORTS, type StudySearch } from './search'
import classes from './study.module.css'

interface Props {
  study: StudyDetail
  series: Series
  search: StudySearch
  onChange: (part: Partial<StudySearch>) => void
}

export function InstanceTable({ study, series, search, onChange }: Props) {
  const page = search.page ?? 1
  const sort = search.sort ?? 'geometry'
  const { data, error, refetch } = api.useQuery(
    'get',
    '/api/v1/imaging/studies/{study}/instances',
    {
      params: {
        path: { study: String(study.id) },
        query: { series: String(series.id), sort, limit: INSTANCE_PAGE, offset: (page - 1) * INSTANCE_PAGE },
      },
    },
    { placeholderData: keepPreviousData },
  )
  if (error && !data) return <ErrorNotice error={error} title="The instances could not be loaded" onRetry={() => void refetch()} />
  const onSort = (next: string) => onChange({ sort: INSTANCE_SORTS.find((one) => one === next), page: undefined })
  return (
    <>
      <div className={classes.scroll}>
        <table className={`table ${classes.instances}`} aria-label="Instances" aria-busy={!data}>
          <thead>
            <tr>
              <th scope="col" className="right" aria-sort={sort === 'geometry' ? 'ascending' : 'none'} style={{ width: '3.4rem' }}>
                <button type="button" title="In geometric order" onClick={() => onChange({ sort: undefined, page: undefined })}>
                  #
                </button>
              </th>
              <SortHeader label="Number" field="instance_number" sort={sort} onSort={onSort} right width="5.2rem" />
              <SortHeader label="Location" field="slice_location" sort={sort} onSort={onSort} right width="6.4rem" />
              <th scope="col" className="right" style={{ width: '4.6rem' }}>
                <span>Images</span>
              </th>
              <th scope="col" style={{ width: '6.6rem' }}>
                <span>Matrix</span>
              </th>
              <th scope="col" style={{ width: '10rem' }}>
                <span>Transfer syntax</span>
              </th>
              <th scope="col" className="right" style={{ width: '5.4rem' }}>
                <span>Size</span>
              </th>
              <th scope="col">
                <span>SOP Instance UID</span>
              </th>
              <th scope="col" style={{ width: '4.6rem' }}>
                <span className="sr-only">Do</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {!data && <SkeletonRows rows={Math.min(INSTANCE_PAGE, series.num_instances || 5)} columns={9} />}
            {data?.items.map((instance, index) => (
              <tr key={instance.sop_instance_uid} data-testid="instance-row">
                <td className="right dim">{count((page - 1) * INSTANCE_PAGE + index + 1)}</td>
                <td className="right">{instance.instance_number ?? NONE}</td>
                <td className="right">{instance.slice_location == null ? NONE : `${instance.slice_location.toFixed(2)} mm`}</td>
                <td className="right">{count(instance.num_frames)}</td>
                <td>{instance.columns && instance.rows ? `${instance.columns} × ${instance.rows}` : NONE}</td>
                <td className="ellipsis" title={`${instance.transfer_syntax_name} ${instance.transfer_syntax_uid}`}>
                  {transferSyntax(instance.transfer_syntax_uid)}
                </td>
                <td className="right">{bytes(instance.size)}</td>
                <td>
                  <div className="mono ellipsis" title={instance.sop_instance_uid}>
                    {instance.sop_instance_uid}
                  </div>
                </td>
                <td>
                  <span className={classes.acts}>
                    {instance.num_frames > 0 && (
                      <ActionIcon
                        size="sm"
                        variant="subtle"
                        color="gray"
                        aria-label={`View instance ${instance.instance_number ?? index + 1}`}
                        renderRoot={(props) => (
                          <Link
                            to="/imaging/$studyId/view"
                            params={{ studyId: String(study.id) }}
                            search={{ series: String(series.id), instance: instance.sop_instance_uid, source: search.source }}
                            {...props}
                          />
                        )}
                      >
                        <IconEye size={15} />
                      </ActionIcon>
                    )}
                    <ActionIcon
                      size="sm"
                      variant="subtle"
                      color="gray"
                      component="a"
                      href={instance.wado_url}
                      download={`${instance.sop_instance_uid}.dcm`}
                      aria-label={`Download instance ${instance.instance_number ?? index + 1}`}
                    >
                      <IconDownload size={15} />
                    </ActionIcon>
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {data && (
        <Pager page={page} size={INSTANCE_PAGE} total={data.total} noun="instances" onPage={(to) => onChange({ page: to === 1 ? undefined : to })} />
      )}
    </>
  )
}
