ALTER TABLE hilum.dataset
  ADD COLUMN deleted_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN deleted_by TEXT DEFAULT '' NOT NULL;
DROP INDEX hilum.dataset_name;
CREATE UNIQUE INDEX dataset_name ON hilum.dataset (name) WHERE deleted_at is null;

ALTER TABLE hilum.dataset_version
  ADD COLUMN software JSONB DEFAULT '{}' NOT NULL,
  ADD COLUMN deleted_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN deleted_by TEXT DEFAULT '' NOT NULL;

ALTER TABLE hilum.dataset_instance
  ADD COLUMN validated BOOLEAN DEFAULT false NOT NULL;
CREATE INDEX dataset_instance_blob ON hilum.dataset_instance (blob_key);
CREATE INDEX dataset_file_blob ON hilum.dataset_file (blob_key);

CREATE TABLE hilum.dataset_litter (
  blob_key TEXT NOT NULL,
  PRIMARY KEY (blob_key)
);
