"""What DIMSE does by itself every so often: requests of storage commitment go a week after they were made, reported or
not. It may run at any time and any number of times."""

from datetime import UTC, datetime, timedelta
from typing import Final

import sqlalchemy as sa

from hilum.core.database import Database
from hilum.core.jobs import Jobs
from hilum.imaging.archive.store import Archive
from hilum.imaging.dimse.models import Commitment

KEEP: Final = timedelta(days=7)


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often."""
    jobs.every("17 * * * *", "hilum.commitment", lambda: forget(archive.database))


def forget(database: Database) -> None:
    """Forget the requests of storage commitment of more than a week ago."""
    with database.transaction() as transaction:
        old = Commitment.created_at < datetime.now(UTC) - KEEP
        transaction.connection.execute(sa.delete(Commitment).where(old))
