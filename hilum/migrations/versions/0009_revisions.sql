-- Where a study stands, by its UID: it may be told of before its first instance comes, and outlives its deletion.
create table hilum.study_clock (
  source_id BIGINT NOT NULL,
  study_instance_uid TEXT NOT NULL,
  revision BIGINT DEFAULT '0' NOT NULL,
  expected BIGINT,
  due_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (source_id, study_instance_uid),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);
create index study_clock_due ON hilum.study_clock (due_at) where due_at is not null;

create table hilum.study_revision (
  source_id BIGINT NOT NULL,
  study_instance_uid TEXT NOT NULL,
  number BIGINT NOT NULL,
  reason TEXT NOT NULL,
  made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  num_series BIGINT DEFAULT '0' NOT NULL,
  num_instances BIGINT DEFAULT '0' NOT NULL,
  num_images BIGINT DEFAULT '0' NOT NULL,
  num_added BIGINT DEFAULT '0' NOT NULL,
  num_removed BIGINT DEFAULT '0' NOT NULL,
  num_replaced BIGINT DEFAULT '0' NOT NULL,
  manifest BYTEA NOT NULL,
  PRIMARY KEY (source_id, study_instance_uid, number),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);
-- Compressed already.
alter table hilum.study_revision alter column manifest set storage external;

insert into hilum.study_clock (source_id, study_instance_uid, due_at)
  select source_id, study_instance_uid, now() from hilum.study where deleted_at is null;
