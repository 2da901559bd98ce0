"""A connection to NATS, for rooms that work in threads: made when it is first needed, given up at the first failure and
then made anew, so that whoever uses it decides when to try again. What is sent over it belongs to the rooms."""

# pyright: reportUnknownMemberType=false

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.errors import Error as NatsError

from hilum.core.config import Settings
from hilum.core.errors import Unavailable

T = TypeVar("T")
CONNECT_SECONDS: Final = 5.0
WORK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """Where NATS is, and how Hilum shows who it is.

    Attributes
    ----------
    servers
        Addresses such as ``nats://host:4222`` or ``tls://host:4222``, any of which will do.
    credentials
        A ``.creds`` file, or one that holds the seed of an nkey.
    ca, certificate, key
        PEM files of TLS: whom to believe, and Hilum's own certificate.
    name
        What the server's lists call the connection.
    """

    servers: tuple[str, ...]
    credentials: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    name: str = "hilum"

    @classmethod
    def of(cls, settings: Settings, name: str = "hilum") -> "NatsOptions":
        """As the settings say."""
        return cls(
            tuple(url.strip() for url in settings.nats_url.split(",") if url.strip()),
            settings.nats_credentials,
            settings.nats_ca,
            settings.nats_certificate,
            settings.nats_key,
            name,
        )


async def connect(options: NatsOptions) -> Client:
    """Connect to the first of the servers that answers; a connection that is lost is not made anew by itself.

    Raises
    ------
    Unavailable
        None of them takes the connection.
    """
    reason = "no address is set; see HILUM_NATS_URL"
    for server in options.servers:
        client = Client()
        try:
            await asyncio.wait_for(_connect(client, options, server), CONNECT_SECONDS)
            return client
        except (NatsError, OSError, ValueError) as error:
            reason = type(error).__name__  # its text may hold the address, and so a password
            await close(client)
    raise Unavailable(f"NATS cannot be reached now: {reason}.")


async def close(client: Client) -> None:
    """Close a connection, in whatever state it is."""
    try:
        await asyncio.wait_for(client.close(), CONNECT_SECONDS)
    except (NatsError, OSError):
        return


async def _connect(client: Client, options: NatsOptions, server: str) -> None:
    creds, seed = _login(options.credentials)
    await client.connect(
        server,
        name=options.name,
        allow_reconnect=False,
        max_reconnect_attempts=1,  # of the first connection, too, which is tried for ever otherwise
        reconnect_time_wait=0,
        connect_timeout=int(CONNECT_SECONDS),
        user_credentials=creds,
        nkeys_seed_str=seed,
        tls=_tls(options, server),
        error_cb=_keep_quiet,
    )


def _login(credentials: Path | None) -> tuple[str | None, str | None]:
    """A file of credentials as the library takes it: its name, where a token is in it, else the seed that it holds."""
    if credentials is None:
        return None, None
    text = credentials.read_text(encoding="ascii")
    return (str(credentials), None) if "-----BEGIN" in text else (None, text.strip())


def _tls(options: NatsOptions, server: str) -> ssl.SSLContext | None:
    if not (options.ca or options.certificate or server.startswith("tls:")):
        return None
    context = ssl.create_default_context(cafile=str(options.ca) if options.ca else None)
    if options.certificate:
        context.load_cert_chain(options.certificate, options.key)
    return context


async def _keep_quiet(_: Exception) -> None:
    """What goes wrong is told by whoever waits for it."""


@dataclass(slots=True)
class Link:
    """One connection, shared by the threads of a process."""

    options: NatsOptions
    _client: Client | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with the connection, and wait for it.

        Parameters
        ----------
        work
            Given the connection, a new one after each failure. It ends within half a minute.

        Raises
        ------
        Unavailable
            NATS cannot be reached, or the connection broke; what had been sent may have arrived or not.
        """
        future = asyncio.run_coroutine_threadsafe(self._run(work), self._running())
        return future.result()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="nats", daemon=True).start()
            return self._loop

    async def _run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        if self._client is None or not self._client.is_connected:
            self._client = await connect(self.options)
        client = self._client
        try:
            return await asyncio.wait_for(work(client), WORK_SECONDS)
        except (NatsError, OSError) as error:
            self._client = None
            await close(client)
            raise Unavailable(f"NATS did not do what it was asked: {type(error).__name__}.") from error
