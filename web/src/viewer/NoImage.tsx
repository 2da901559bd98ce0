/** A series without a picture (a report, a plan, a document): what it is, its tags, and the way to its files. */
import { IconFileText } from '@tabler/icons-react'
import { useState } from 'react'
import type { Series, StudyDetail } from '../api/types'
import { modalityName } from '../common/modalities'
import { api } from '../api/client'
import { plural } from '../common/format'
import { TagPanel } from '../study/TagPanel'
import type { StudySearch } from '../study/search'
import classes from './viewer.module.css'

export function NoImage({ study, series }: { study: StudyDetail; series: Series }) {
  const [search, setSearch] = useState<Pick<StudySearch, 'nth' | 'find'>>({})
  const { data } = api.useQuery('get', '/api/v1/imaging/studies/{study}/instances', {
    params: { path: { study: String(study.id) }, query: { series: String(series.id), limit: 20 } },
  })
  const what = modalityName(series.modality || 'OT')
  return (
    <div className={classes.noImage} data-testid="no-image">
      <header>
        <IconFileText size={30} stroke={1.4} />
        <div>
          <strong>{series.num_images ? 'This series holds no image that can be shown here' : 'This series holds no image'}</strong>
          <p>
            {what === 'Other' ? 'Other data' : what}, {plural(series.num_instances, 'instance')}. What is in it is read in its tags.
          </p>
          <p>
            {data?.items.map((instance, i) => (
              <a key={instance.sop_instance_uid} href={instance.wado_url} download={`${instance.sop_instance_uid}.dcm`}>
                Download {data.items.length > 1 ? `instance ${instance.instance_number ?? i + 1}` : 'the DICOM file'}
              </a>
            ))}
          </p>
        </div>
      </header>
      <TagPanel study={study} series={series} search={search} onChange={(part) => setSearch({ ...search, ...part })} />
    </div>
  )
}
