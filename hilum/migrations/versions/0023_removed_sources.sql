alter table hilum.source add column removed boolean default false not null;
alter table hilum.source add column removed_at timestamp with time zone;
