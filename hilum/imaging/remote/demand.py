"""Images of remote studies that somebody waits for: asked for, and waited for as long as a client does. However many
are waited for, some threads stay free for what is here."""

import threading
import time
from collections.abc import Callable
from typing import Final

from hilum.core.database import Database
from hilum.core.errors import Conflict, NotFound, Unavailable
from hilum.imaging.remote import copies

TASK: Final = "remote.fetch"
MAX_WAITING: Final = 12
_FIRST_SECONDS: Final = 0.1
_NEXT_SECONDS: Final = 0.5


class Demand:
    """What the requests of one process wait for.

    Parameters
    ----------
    database
        Where wishes are kept.
    wake
        Tells those who fetch.
    seconds
        How long a request waits.
    """

    def __init__(self, database: Database, wake: Callable[[], object], seconds: float) -> None:
        self._database = database
        self._wake = wake
        self._seconds = seconds
        self._room = threading.BoundedSemaphore(MAX_WAITING)

    def bring(self, study_id: int) -> None:
        """Have the images of a study fetched, and wait until they are here.

        Raises
        ------
        NotFound
            They cannot be had: nothing is fetched from there, or the remote archive does not give them.
        Unavailable
            They are on their way; they can be asked for again in a moment.
        """
        try:
            with self._database.transaction() as sql:
                now = copies.want(sql, study_id)
        except Conflict as error:
            raise NotFound(f"The study lies in the remote archive only. {error}") from None
        if now.state == "held":
            return
        self._wake()
        if not self._room.acquire(blocking=False):
            raise Unavailable("The images are being fetched from the remote archive; ask again in a moment.")
        try:
            self._wait(study_id)
        finally:
            self._room.release()

    def _wait(self, study_id: int) -> None:
        deadline, pause = time.monotonic() + self._seconds, _FIRST_SECONDS
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 1.5, _NEXT_SECONDS)
            with self._database.transaction() as sql:
                found = copies.find_copy(sql, study_id)
            if found.state == "held":
                return
            if found.state == "failed":
                raise NotFound(f"The study lies in the remote archive only. {found.error}")
        raise Unavailable("The images are being fetched from the remote archive; ask again in a moment.")
