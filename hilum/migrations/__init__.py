"""The history of the schema ``hilum``: Alembic revisions, written by hand and run at every start."""
