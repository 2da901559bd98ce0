create table hilum.registry_file (
  source_id BIGINT NOT NULL,
  sop_instance_uid TEXT NOT NULL,
  study_instance_uid TEXT NOT NULL,
  image_registry_id BIGINT,
  file_id TEXT DEFAULT '' NOT NULL,
  src_file TEXT DEFAULT '' NOT NULL,
  taken_at TIMESTAMP WITHOUT TIME ZONE,
  PRIMARY KEY (source_id, sop_instance_uid),
  UNIQUE (source_id, image_registry_id),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);
create index registry_file_study ON hilum.registry_file (source_id, study_instance_uid);

create table hilum.registry_group (
  source_id BIGINT NOT NULL,
  person_id BIGINT NOT NULL,
  study_instance_uid TEXT NOT NULL,
  group_id BIGINT NOT NULL,
  PRIMARY KEY (source_id, person_id, study_instance_uid),
  UNIQUE (source_id, person_id, group_id),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);

do $$
declare
  place text;
begin
  for place in select imaging_schema from hilum.source where imaging_schema <> '' loop
    execute format('create table if not exists %I.image_registry (
      image_registry_id bigint primary key,
      file_id varchar(1024) not null,
      proc_id bigint not null,
      person_id bigint not null,
      group_id bigint not null,
      visit_id bigint,
      datetime timestamp not null,
      src_file varchar(1024) not null,
      trg_file varchar(1024)
    )', place);
    execute format('create index if not exists image_registry_person on %I.image_registry (person_id)', place);
    execute format('create sequence if not exists %I.hilum_image_registry_id', place);
  end loop;
end
$$;
