-- Where the remote archive of a source answers.
alter table hilum.source add column dicomweb_url TEXT DEFAULT '' NOT NULL, add column fhir_url TEXT DEFAULT '' NOT NULL;

create table hilum.fhir_imaging_study (
  id BIGINT NOT NULL,
  source_id BIGINT NOT NULL,
  study_instance_uid TEXT NOT NULL,
  version BIGINT DEFAULT '0' NOT NULL,
  status TEXT DEFAULT '' NOT NULL,
  deleted BOOLEAN DEFAULT false NOT NULL,
  endpoint TEXT DEFAULT '' NOT NULL,
  patient_id TEXT DEFAULT '' NOT NULL,
  issuer_of_patient_id TEXT DEFAULT '' NOT NULL,
  person_id BIGINT,
  accession_number TEXT DEFAULT '' NOT NULL,
  modalities TEXT[] DEFAULT '{}' NOT NULL,
  started_from TIMESTAMP WITH TIME ZONE,
  started_to TIMESTAMP WITH TIME ZONE,
  last_updated TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  published_version BIGINT DEFAULT '0' NOT NULL,
  published_at TIMESTAMP WITH TIME ZONE,
  offered BOOLEAN DEFAULT false NOT NULL,
  attempts BIGINT DEFAULT '0' NOT NULL,
  next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  taken_until TIMESTAMP WITH TIME ZONE,
  problem TEXT DEFAULT '' NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (source_id, study_instance_uid),
  FOREIGN KEY(source_id) REFERENCES hilum.source (id) ON DELETE CASCADE
);
create index fhir_imaging_study_accession ON hilum.fhir_imaging_study (accession_number);
create index fhir_imaging_study_cancelled ON hilum.fhir_imaging_study (id) where status <> 'available' and not deleted;
create index fhir_imaging_study_due ON hilum.fhir_imaging_study (next_at) where published_version < version;
create index fhir_imaging_study_ended ON hilum.fhir_imaging_study (started_to, id);
create index fhir_imaging_study_endpoint ON hilum.fhir_imaging_study (endpoint, id);
create index fhir_imaging_study_modalities ON hilum.fhir_imaging_study using gin (modalities);
create index fhir_imaging_study_patient ON hilum.fhir_imaging_study (patient_id);
create index fhir_imaging_study_person ON hilum.fhir_imaging_study (person_id) where person_id is not null;
create index fhir_imaging_study_started ON hilum.fhir_imaging_study (started_from, id);
create index fhir_imaging_study_uid ON hilum.fhir_imaging_study (study_instance_uid);
create index fhir_imaging_study_updated ON hilum.fhir_imaging_study (last_updated, id);

create table hilum.fhir_imaging_study_version (
  imaging_study_id BIGINT NOT NULL,
  version BIGINT NOT NULL,
  revision BIGINT DEFAULT '0' NOT NULL,
  last_updated TIMESTAMP WITH TIME ZONE NOT NULL,
  content TEXT,
  PRIMARY KEY (imaging_study_id, version),
  FOREIGN KEY(imaging_study_id) REFERENCES hilum.fhir_imaging_study (id) ON DELETE CASCADE
);

create table hilum.fhir_state (
  id BIGINT NOT NULL,
  made_up_to BIGINT DEFAULT '0' NOT NULL,
  target TEXT DEFAULT '' NOT NULL,
  failures BIGINT DEFAULT '0' NOT NULL,
  next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  problem TEXT DEFAULT '' NOT NULL,
  PRIMARY KEY (id)
);

insert into hilum.fhir_state (id) values (1);
