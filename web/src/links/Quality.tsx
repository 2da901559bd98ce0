/** How well the images of a source are tied to its CDM: coverage, what is not as it should be, why studies wait, and the SQL of each figure. */
import { ActionIcon, CopyButton, Skeleton } from '@mantine/core'
import { IconCheck, IconChevronDown, IconChevronRight, IconCopy } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'
import { api } from '../api/client'
import type { LinkSource, Quality as Found, QualityCheck } from '../api/types'
import { ErrorNotice } from '../common/ErrorNotice'
import { count } from '../common/format'
import { coverage, type Covered, groupOf, GROUPS } from './coverage'
import type { LinksSearch } from './search'
import { Sources } from './Sources'
import { KIND_NAMES, reasonName, sqlLines } from './text'
import classes from './page.module.css'

function Share({ name, part, whole }: Covered) {
  const share = whole ? part / whole : 0
  return (
    <div className={classes.share} data-testid="coverage">
      <dt>{name}</dt>
      <dd>
        <b>{whole ? `${(Math.floor(share * 1000) / 10).toLocaleString('en-US')} %` : '–'}</b>{' '}
        <span className="dim">
          {count(part)} of {count(whole)}
        </span>
        <span className={classes.measure} aria-hidden>
          <span style={{ width: `${100 * share}%` }} />
        </span>
      </dd>
    </div>
  )
}

function Check({ check }: { check: QualityCheck }) {
  const [open, setOpen] = useState(false)
  const sql = sqlLines(check.sql)
  return (
    <li data-testid="check" data-name={check.name}>
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? <IconChevronDown size={15} /> : <IconChevronRight size={15} />}
        <b data-bad={(!check.good && check.count > 0) || undefined}>{count(check.count)}</b>
        <span>{check.text}</span>
        <span className="dim">SQL</span>
      </button>
      {open && (
        <div className={classes.sql}>
          <pre tabIndex={0} aria-label={`SQL of: ${check.text}`}>
            {sql}
          </pre>
          <CopyButton value={sql}>
            {({ copied, copy }) => (
              <ActionIcon variant="default" aria-label={copied ? 'Copied' : 'Copy the SQL'} onClick={copy}>
                {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
              </ActionIcon>
            )}
          </CopyButton>
        </div>
      )}
    </li>
  )
}

function Checks({ title, words, checks }: { title: string; words?: string; checks: QualityCheck[] }) {
  if (!checks.length && !words) return null
  return (
    <section className={classes.section}>
      <h2>{title}</h2>
      {!checks.length && <p className="dim">{words}</p>}
      <ul className={classes.checks}>
        {checks.map((check) => (
          <Check key={check.name} check={check} />
        ))}
      </ul>
    </section>
  )
}

function Shown({ found }: { found: Found }) {
  const bad = found.checks.filter((one) => !one.good && one.count > 0)
  return (
    <>
      <p className={classes.intro}>
        {found.attached ? 'An attached CDM' : "Hilum's own CDM"} in <code>{found.cdm_schema}</code>; the image tables are in <code>{found.imaging_schema}</code>.
      </p>
      <dl className={classes.shares}>
        {coverage(found.checks).map((one) => (
          <Share key={one.name} {...one} />
        ))}
      </dl>
      <Checks title="Not as it should be" words="Nothing: every check below finds what it should." checks={bad} />
      <section className={classes.section}>
        <h2>Not linked, and why</h2>
        {!found.waiting.length && <p className="dim">Everything is linked.</p>}
        <ul className={classes.checks}>
          {found.waiting.map((one) => (
            <li key={`${one.kind} ${one.reason}`} data-testid="not-linked">
              <Link
                to="/links"
                search={{ source: found.source, kind: one.kind, reason: one.reason, ...(one.reason === 'unlinked' ? { view: 'refused' as const } : {}) }}
              >
                <b>{count(one.studies)}</b>
                <span>
                  {KIND_NAMES[one.kind]}: {reasonName(one.reason)}
                </span>
                <span className="dim">{one.text}</span>
              </Link>
            </li>
          ))}
        </ul>
      </section>
      {GROUPS.map((group) => (
        <Checks key={group} title={group} checks={found.checks.filter((one) => !bad.includes(one) && groupOf(one) === group)} />
      ))}
      {found.missing_concepts.length > 0 && (
        <section className={classes.section}>
          <h2>Concepts that the vocabulary lacks</h2>
          <p className="dim">Hilum writes these where it has nothing better; load a vocabulary that has them with `hilum cdm vocabulary`.</p>
          <ul className={classes.concepts}>
            {found.missing_concepts.map((one) => (
              <li key={`${String(one.concept_id)} ${one.word}`}>
                <span className="mono">{one.concept_id}</span> {one.concept_name} <span className="dim">{one.use}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  )
}

interface Props {
  sources: LinkSource[]
  search: LinksSearch
  onChange: (part: Partial<LinksSearch>) => void
}

export function Quality({ sources, search, onChange }: Props) {
  const source = search.source ?? sources[0]?.key ?? 'default'
  const { data, error, refetch } = api.useQuery('get', '/api/v1/imaging/links/quality', { params: { query: { source } } })
  return (
    <div className={classes.page}>
      <Sources sources={sources} value={source} onChange={(next) => onChange({ source: next })} />
      {error && <ErrorNotice error={error} title="The figures could not be counted" onRetry={() => void refetch()} />}
      {!data && !error && <Skeleton height={300} />}
      {data && <Shown found={data} />}
    </div>
  )
}
