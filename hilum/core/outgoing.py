"""Connections to addresses that a person configured, and to nothing else: the name is resolved once, what it stands for
is checked, no proxy is asked, and a whole exchange has one time limit. What is said over them is for those who call."""

import ipaddress
import select
import socket
import ssl
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from hilum.core.errors import Invalid

CONNECT_SECONDS: Final = 5.0
MOST_URL: Final = 2048
# Where clouds tell a machine its secrets, beside the link-local ones.
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_THIS: Final = ipaddress.IPv4Network("0.0.0.0/8")


class Forbidden(Exception):
    """A name stands for addresses only to which nothing is sent."""


def check_url(url: str) -> None:
    """Refuse an address that nothing could or should be sent to, as far as it can be told without resolving its name.

    Raises
    ------
    Invalid
        Not http or https, without a host, with credentials or a fragment, too long, or with an address that ``allowed``
        refuses.
    """
    try:
        parts = urlsplit(url)
        host, port, fine = parts.hostname or "", parts.port, url.isascii() and url.isprintable() and " " not in url
        host.encode("idna")
    except ValueError as error:
        raise Invalid("The address cannot be read: give one such as https://receiver.example/events.") from error
    if parts.scheme not in ("http", "https") or not host or port == 0 or not fine or len(url) > MOST_URL:
        raise Invalid(
            "The address must be an http:// or https:// one with a host, in ASCII, of at most 2048 characters."
        )
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Invalid("The address may hold no credentials and no fragment: those have fields of their own.")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return
    if not allowed(str(literal)):
        raise Invalid(f"{literal} is a link-local, metadata, multicast or unspecified address: nothing is sent there.")


def allowed(address: str) -> bool:
    """Tell whether something may be sent to an IP address.

    Private networks and loopback are where hospitals and neighbours on this machine receive, so they are allowed.
    Link-local addresses are not: behind 169.254.169.254 and its like a cloud tells its machines their credentials.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return allowed(str(inner))
        reserved = False
    else:
        reserved = ip.is_reserved or ip in _THIS
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified or reserved or ip in _METADATA)


class Network(httpcore.NetworkBackend):
    """Opens connections to checked addresses; what is done over them ends at ``deadline``, of the monotonic clock."""

    def __init__(self) -> None:
        self.deadline = 0.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        del timeout, local_address, socket_options
        with _explained(httpcore.ConnectError, httpcore.ConnectTimeout):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        places = [(family, place) for family, _, _, _, place in found if allowed(str(place[0]))]
        if not places:
            raise Forbidden
        for n, (family, place) in enumerate(places):
            try:
                return self._connect(family, place)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if n == len(places) - 1:
                    raise
        raise Forbidden

    def _connect(self, family: int, place: tuple[Any, ...]) -> "_Stream":
        with _explained(httpcore.ConnectError, httpcore.ConnectTimeout):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(min(CONNECT_SECONDS, _left(self)))
                connection.connect(place)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BaseException:
                connection.close()
                raise
        return _Stream(connection, self)


class _Stream(httpcore.NetworkStream):
    """A connection each of whose steps may last only as long as the whole exchange still may."""

    def __init__(self, connection: socket.socket, network: Network) -> None:
        self._connection = connection
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout  # the exchange's holds
        with _explained(httpcore.ReadError, httpcore.ReadTimeout):
            self._connection.settimeout(_left(self._network))
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        rest = memoryview(buffer)
        with _explained(httpcore.WriteError, httpcore.WriteTimeout):
            while rest:
                self._connection.settimeout(_left(self._network))
                rest = rest[self._connection.send(rest) :]

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        del timeout
        with _explained(httpcore.ConnectError, httpcore.ConnectTimeout):
            self._connection.settimeout(min(CONNECT_SECONDS, _left(self._network)))
            return _Stream(ssl_context.wrap_socket(self._connection, server_hostname=server_hostname), self._network)

    def get_extra_info(self, info: str) -> object:
        if info == "is_readable":  # an idle connection with something to read was closed by the server
            return bool(select.select([self._connection], [], [], 0)[0])
        return None


def _left(network: Network) -> float:
    left = network.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextmanager
def _explained(failure: type[Exception], timeout: type[Exception]) -> Generator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout("Time is up.") from error
    except (OSError, UnicodeError) as error:
        raise failure(str(error)) from error
