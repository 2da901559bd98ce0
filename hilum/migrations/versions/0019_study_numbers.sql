create table hilum.series_order (
  series_id BIGINT NOT NULL,
  version BIGINT NOT NULL,
  numbers JSONB DEFAULT '[]' NOT NULL,
  procedure_codes JSONB DEFAULT '[]' NOT NULL,
  acquisition_date DATE,
  content_date DATE,
  PRIMARY KEY (series_id),
  FOREIGN KEY(series_id) REFERENCES hilum.series (id) ON DELETE CASCADE
);
