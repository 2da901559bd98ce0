"""Who asks, and what their role lets them do. Hilum keeps no passwords yet: whoever reaches it is the local user, an
administrator. A proxy that is believed (``HILUM_TRUSTED_PROXIES``) and knows its people names them in
``X-Forwarded-User`` and their role in ``X-Hilum-Role``; nobody else's word counts."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_args

from fastapi import Depends, Request

from hilum.core.errors import HilumError
from hilum.core.forwarded import BadForwarding

if TYPE_CHECKING:
    from starlette.types import Scope

Role: TypeAlias = Literal["researcher", "viewer", "editor", "admin"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)
_CALLER: Final = "hilum.caller"
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")


class Forbidden(HilumError):
    """The caller's role is too small for what is asked."""

    status = 403
    title = "Not in this role"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    name
        As the proxy says; of a server without one the local user.
    role
        ``researcher`` sees versions of data sets and their images only, ``viewer`` reads all but the crosswalk,
        ``editor`` changes things as well, ``admin`` does everything.
    """

    name: str
    role: Role

    @property
    def only_reads(self) -> bool:
        """Whether the role changes nothing."""
        return self.role in ("researcher", "viewer")


LOCAL: Final = Caller("local user", "admin")


def note_caller(scope: "Scope", *, believed: bool) -> Caller:
    """Find out who asks, for `the_caller`.

    Parameters
    ----------
    scope
        Of the request.
    believed
        Whether it came by a proxy that is believed.

    Raises
    ------
    BadForwarding
        The proxy names a role that there is not, or what is no name.
    """
    caller = _said(dict(scope["headers"])) if believed else LOCAL
    scope[_CALLER] = caller
    return caller


async def the_caller(request: Request) -> Caller:
    """Dependency: who asks."""
    return _caller(request)


def needs(*roles: Role) -> Callable[..., Awaitable[Caller]]:
    """Make a dependency that lets some roles pass, and tells who asks."""

    async def passed(request: Request) -> Caller:
        caller = _caller(request)
        if caller.role not in roles:
            raise Forbidden(f"This needs the role {' or '.join(roles)}; you have {caller.role}.")
        return caller

    return passed


TheCaller = Annotated[Caller, Depends(the_caller)]


def _caller(request: Request) -> Caller:
    return request.scope.get(_CALLER, LOCAL)


def _said(fields: Mapping[bytes, bytes]) -> Caller:
    name = fields.get(b"x-forwarded-user", b"").decode("utf-8", "replace").strip() or LOCAL.name
    role: Any = fields.get(b"x-hilum-role", b"").decode("latin-1").strip() or LOCAL.role
    if role not in ROLES or not _NAME.fullmatch(name):
        raise BadForwarding(f"The proxy passes on what is no name, or no role; roles are {', '.join(ROLES)}.")
    return Caller(name, role)
