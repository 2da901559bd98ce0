"""What DICOMweb does by itself every so often: the metadata of series that have arrived is made before anybody asks for
it. It may run at any time and any number of times."""

import os
import threading
from typing import Final

from hilum.core.jobs import Jobs
from hilum.imaging.archive.store import Archive

_SECONDS: Final = 5.0
_NICE: Final = 15


def register(jobs: Jobs, archive: Archive) -> None:
    """Teach a process what is to be done every so often."""
    jobs.every("* * * * * */10", "hilum.metadata", lambda: _nicely(archive))


def _nicely(archive: Archive) -> None:
    """Make what is due in a thread of low priority, which ends with it: a thread cannot take its priority back."""
    failures: list[BaseException] = []

    def run() -> None:
        from hilum.imaging.dicomweb.metadata import make_due  # a worker without images to tell of stays small

        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
            make_due(archive, seconds=_SECONDS)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="hilum.metadata")
    thread.start()
    thread.join()
    for failure in failures:
        raise failure
