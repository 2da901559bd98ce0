"""Images that are known and lie elsewhere: a request for them is answered once they have been brought here. Who brings
them is for a room above, which the application names."""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Final, LiteralString, ParamSpec, Protocol, TypeVar, cast

import sqlalchemy as sa
from fastapi import Request

from hilum.core.errors import NotFound
from hilum.core.lookup import look_up

_P = ParamSpec("_P")
_T = TypeVar("_T")


class NotHere(NotFound):
    """The images of a study lie in its source's remote archive, or are just coming from there."""

    def __init__(self, study_id: int) -> None:
        super().__init__("The images lie in the remote archive only.")
        self.study_id: Final = study_id


class Bring(Protocol):
    """Has the images of a study brought here; raises a ``HilumError`` where they do not come, or not in time."""

    def __call__(self, study_id: int) -> None: ...


def brought(endpoint: Callable[_P, _T]) -> Callable[_P, _T]:
    """An endpoint that is asked once more when what it lacked has been brought; it is given its ``request`` by name.
    One that is a coroutine waits for nothing, and stays as it is."""
    if iscoroutinefunction(cast("object", endpoint)):
        return endpoint

    @wraps(endpoint)
    def asked(*args: _P.args, **named: _P.kwargs) -> _T:
        try:
            return endpoint(*args, **named)
        except NotHere as absent:
            bring: Bring = cast("Request", named["request"]).app.state.bring
            bring(absent.study_id)
        return endpoint(*args, **named)

    return asked


def refuse_absent(connection: sa.Connection, source: str, study_instance_uid: str, *, coming: bool = False) -> None:
    """Raise ``NotHere`` for a study whose images are not here, or not all; with ``coming`` only if they are coming."""
    wanted = {"source": source, "study": study_instance_uid, "coming": coming}
    for row in look_up(connection, _ABSENT, wanted):
        raise NotHere(cast("int", row["id"]))


_ABSENT: Final[LiteralString] = """
  select t.id from hilum.study t
  where t.source_id = (select id from hilum.source where key = %(source)s)
    and t.study_instance_uid = %(study)s and t.deleted_at is null
    and ((t.availability = 'remote' and not %(coming)s) or exists (select from hilum.remote_copy c
      where c.study_id = t.id and (c.state = 'fetching' or (c.state = 'waiting' and c.attempts > 0))))
"""
