alter table hilum.source
  add column dicomweb_credentials jsonb default '{}' not null,
  add column dicomweb_ca text default '' not null,
  add column remote_fetch text default 'asked' not null,
  add column remote_modalities text[] default '{}' not null,
  add column remote_keep_days integer,
  add column remote_keep_bytes bigint;

create table hilum.remote_copy (
  study_id bigint primary key references hilum.study on delete cascade,
  state text default 'waiting' not null,
  rule boolean default false not null,
  attempts integer default 0 not null,
  retry_at timestamptz default now() not null,
  lease uuid,
  leased_until timestamptz,
  error text default '' not null,
  num_instances bigint default 0 not null,
  bytes bigint default 0 not null,
  asked_at timestamptz default now() not null,
  fetched_at timestamptz
);
create index remote_copy_due on hilum.remote_copy (rule, asked_at) where state in ('waiting', 'fetching');
create index remote_copy_held on hilum.remote_copy (fetched_at) where state = 'held';

create table hilum.remote_index (
  source_id bigint not null references hilum.source on delete cascade,
  query text not null,
  num_studies bigint default 0 not null,
  updated_at timestamptz default now() not null,
  primary key (source_id, query)
);
