"""The TLS of a connection, taken off: who works with the connection gets a plain one of loopback, so that what relays
associations and what keeps instances know nothing of TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

from hilum.imaging.relay.frames import CHUNK
from hilum.imaging.relay.targets import connected_pair

HANDSHAKE_SECONDS: Final = 30.0
_FINISH_SECONDS: Final = 2.0


@asynccontextmanager
async def plain(connection: socket.socket, tls: ssl.SSLContext) -> AsyncGenerator[socket.socket]:
    """Take the TLS off a connection that was accepted; leaving the block ends it.

    Parameters
    ----------
    connection : socket.socket
        Not blocking.
    tls : ssl.SSLContext
        Of a server.

    Yields
    ------
    socket.socket
        Not blocking. Closed in order it closes the peer's in order, and reset it cuts that off.

    Raises
    ------
    OSError
        The peer does not speak TLS, or shows no certificate that is trusted.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    near, far = connected_pair()
    near.setblocking(False)
    far.setblocking(False)
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    carrying = loop.create_task(_carry(reader, writer, far))
    try:
        yield near
    finally:
        near.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(2 * _FINISH_SECONDS):
                await carrying
        transport.abort()
        far.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far: socket.socket) -> None:
    """Carry bytes both ways until what works with the connection is done with it."""
    coming_in = asyncio.create_task(_in(reader, far))
    try:
        await _out(writer, far)
        # TLS knows no connection that is closed by half: the peer, which has been told all, is to close it.
        await asyncio.wait((coming_in,), timeout=_FINISH_SECONDS)
        writer.close()
        await writer.wait_closed()
    finally:
        coming_in.cancel()
        await asyncio.gather(coming_in, return_exceptions=True)


async def _in(reader: asyncio.StreamReader, far: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # cut off: what was said before is all there is
        while data := await reader.read(CHUNK):
            await loop.sock_sendall(far, data)
    with suppress(OSError):
        far.shutdown(socket.SHUT_WR)


async def _out(writer: asyncio.StreamWriter, far: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(far, CHUNK):
        writer.write(data)
        await writer.drain()
