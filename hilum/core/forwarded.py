"""What a reverse proxy says of the request as it came to it: ``Forwarded`` (RFC 7239), or ``X-Forwarded-Proto``,
``-Host``, ``-Port`` and ``-Prefix``. It is believed only of proxies that a setting names, and only where it is well
formed: what stands in URLs must never be a stranger's choice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final

from hilum.core.errors import HilumError, Invalid

if TYPE_CHECKING:
    from starlette.types import Scope  # a worker reads the settings without a web framework

_PREFIX: Final = "hilum.forwarded_prefix"
_SOCKETS: Final = {"http": "ws", "https": "wss"}
_UNDER_SOCKETS: Final = {socket: scheme for scheme, socket in _SOCKETS.items()}
_HOST: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}){0,8}/?")
_PAIR: Final = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*')


class BadForwarding(HilumError):
    """A trusted proxy passes on what is no host, protocol, port or path."""

    status = 400
    title = "Bad forwarding"


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that are believed.

    Attributes
    ----------
    networks : tuple
        Their addresses; none are believed where it is empty.
    """

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Proxies":
        """Read addresses and networks with spaces or commas between them.

        Raises
        ------
        Invalid
            One of them is none.
        """
        try:
            return cls(tuple(ip_network(part, strict=False) for part in re.split(r"[\s,]+", text.strip()) if part))
        except ValueError as error:
            raise Invalid("HILUM_TRUSTED_PROXIES is made of IP addresses or networks such as 10.0.0.0/8.") from error

    def believe(self, scope: "Scope") -> bool:
        """Make a request what it was when it came to a proxy that is believed, and tell whether it came from one.

        Of several values the last counts: it is what the nearest proxy wrote, the others may be the client's own.

        Raises
        ------
        BadForwarding
            A value is malformed.
        """
        client = scope.get("client")
        if not self.networks or not client or not self.trusts(str(client[0])):
            return False
        fields = {name: value.decode("latin-1") for name, value in scope["headers"]}
        said = _forwarded(fields) if b"forwarded" in fields else _x_forwarded(fields)
        prefix = fields.get(b"x-forwarded-prefix", "").rpartition(",")[2].strip()
        if said or prefix:
            scope.update(_as_said(scope, said, prefix))
        return True

    def trusts(self, address: str) -> bool:
        """Whether an address is that of one of them."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(found in network for network in self.networks if network.version == found.version)


def forwarded_prefix(scope: Mapping[str, Any]) -> str:
    """The path before all paths as the client sees them, without a slash at the end; mostly empty."""
    return scope.get(_PREFIX, "")


def _forwarded(fields: Mapping[bytes, str]) -> dict[str, str]:
    last = fields[b"forwarded"].rpartition(",")[2]
    found: dict[str, str] = {}
    for part in last.split(";"):
        pair = _PAIR.fullmatch(part)
        if pair is None:
            raise BadForwarding("The Forwarded field of the proxy is not one that RFC 7239 describes.")
        found[pair[1].lower()] = pair[2] if pair[2] is not None else pair[3]
    return {name: found[name] for name in ("host", "proto") if name in found}


def _x_forwarded(fields: Mapping[bytes, str]) -> dict[str, str]:
    names = {"host": b"x-forwarded-host", "proto": b"x-forwarded-proto", "port": b"x-forwarded-port"}
    return {what: fields[name].rpartition(",")[2].strip() for what, name in names.items() if name in fields}


def _as_said(scope: "Scope", said: Mapping[str, str], prefix: str) -> dict[str, object]:
    scheme = said.get("proto", scope["scheme"]).lower()
    scheme = _UNDER_SOCKETS.get(scheme, scheme)
    if scheme not in ("http", "https") or not _PATH.fullmatch(prefix):
        raise BadForwarding("The proxy names a protocol that is not http or https, or a prefix that is no path.")
    headers = scope["headers"]
    own = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
    host = _HOST.fullmatch(said.get("host", own))
    if host is None:
        raise BadForwarding("The proxy passes on a host that is none.")
    usual = 443 if scheme == "https" else 80
    given = said.get("port") or host["port"] or str(usual)
    if not given.isascii() or not given.isdigit() or not 0 < int(given) < 65536:
        raise BadForwarding("The proxy passes on a port that is none.")
    port = int(given)
    shown = host["name"] if port == usual else f"{host['name']}:{port}"
    changed = [(name, value) for name, value in headers if name != b"host"] + [(b"host", shown.encode("ascii"))]
    shown_scheme = _SOCKETS[scheme] if scope["type"] == "websocket" else scheme
    return {"scheme": shown_scheme, "headers": changed, "server": (host["name"], port), _PREFIX: prefix.rstrip("/")}
