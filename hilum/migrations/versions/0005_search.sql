-- The codes of Daitch-Mokotoff of all words of a name, of each of its component groups: what sounds alike shares one.
create function hilum.name_codes(text) returns text[] language sql immutable parallel safe strict as $$
  select coalesce(array_agg(distinct code), '{}')
  from regexp_split_to_table(translate(hilum.fold(left($1, 512)), '''`’', ''), '[^a-z]+') word,
    unnest(public.daitch_mokotoff(word)) code
  where word <> ''
$$;

alter table hilum.study
  add column further JSONB,
  add column indexed_for TEXT DEFAULT '' NOT NULL,
  add column patient_codes TEXT[] GENERATED ALWAYS AS (hilum.name_codes(patient_name_dicom)) STORED NOT NULL,
  add column physician_codes TEXT[] GENERATED ALWAYS AS (hilum.name_codes(referring_physician_dicom)) STORED NOT NULL;
alter table hilum.series add column further JSONB;
alter table hilum.instance add column further JSONB;

create index study_further ON hilum.study USING gin (further jsonb_path_ops) WHERE further is not null;
create index series_further ON hilum.series USING gin (further jsonb_path_ops) WHERE further is not null;
create index instance_further ON hilum.instance USING gin (further jsonb_path_ops) WHERE further is not null;
create index study_indexed_for ON hilum.study (indexed_for, id);
create index study_search_order ON hilum.study (source_id, study_date desc nulls last, id desc) INCLUDE (study_instance_uid) WHERE deleted_at is null;
create index study_patient_codes ON hilum.study USING gin (patient_codes);
create index study_physician_codes ON hilum.study USING gin (physician_codes);
