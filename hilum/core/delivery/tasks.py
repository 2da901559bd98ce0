"""What delivery does by itself every so often: the list of what was delivered is cut to its latest."""

from typing import Final

from hilum.core.delivery.ledger import forget
from hilum.core.jobs import Jobs

KEEP: Final = 200


def register(jobs: Jobs) -> None:
    """Teach a process what is to be done every so often."""
    jobs.every("*/10 * * * *", "hilum.delivery", lambda: forget(jobs.database, KEEP))
