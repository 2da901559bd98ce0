create table hilum.source_step (
  source_id BIGINT NOT NULL,
  step TEXT NOT NULL,
  PRIMARY KEY (source_id, step),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);

create table hilum.study_step (
  study_id BIGINT NOT NULL,
  step TEXT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (study_id, step),
  FOREIGN KEY(study_id) REFERENCES hilum.study (id) ON DELETE CASCADE
);

-- What was complete has been read for features, and linked where it has links or an event of it still comes.
insert into hilum.study_step (study_id, step, revision)
select id, 'features', revision from hilum.study where status = 'processed' and deleted_at is null;
insert into hilum.study_step (study_id, step, revision)
select id, 'linkage', revision from hilum.study s where status = 'processed' and deleted_at is null
  and exists (select from hilum.study_link l where l.study_id = s.id);
insert into hilum.source_step (source_id, step)
select id, unnest(array['linkage', 'features']) from hilum.source where cdm_schema <> '';
update hilum.study s set status = 'indexed' where status = 'processed' and deleted_at is null
  and exists (select from hilum.source_step n where n.source_id = s.source_id)
  and not exists (select from hilum.study_step d where d.study_id = s.id and d.step = 'linkage');

alter table hilum.feature add column corrected boolean default false not null;
-- Features that no file tells are recorded beside the objects from now on.
insert into hilum.unrecorded_study (study_id)
select distinct study_id from hilum.feature where extractor = '' or strpos(extractor, '/') > 0 on conflict do nothing;

create table hilum.settled_study (
  study_id BIGINT NOT NULL,
  inputs BIGINT NOT NULL,
  outputs BIGINT NOT NULL,
  PRIMARY KEY (study_id),
  FOREIGN KEY(study_id) REFERENCES hilum.study (id) ON DELETE CASCADE
);
