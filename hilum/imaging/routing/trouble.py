"""What can go wrong on the way to a destination, and whose fault it may be."""

import ssl
import tempfile
from functools import lru_cache
from typing import Final

from hilum.imaging.routing.destinations import Destination

CONNECT_SECONDS: Final = 10.0


class Unreachable(Exception):
    """The destination cannot be reached, or refuses whatever comes: no instance is to blame.

    ``after`` is for how many seconds it asks to be left alone.
    """

    def __init__(self, sentence: str, after: float = 0.0) -> None:
        super().__init__(sentence)
        self.after: Final = after


class Refused(Exception):
    """A request failed as a whole, perhaps for one of its instances.

    ``permanent`` says that the same request will always fail, ``uncertain`` that some may have been stored.
    """

    def __init__(self, sentence: str, *, permanent: bool = False, uncertain: bool = False) -> None:
        super().__init__(sentence)
        self.permanent: Final = permanent
        self.uncertain: Final = uncertain


def tls_context(destination: Destination) -> ssl.SSLContext:
    """Whom to trust, and what to show, over TLS.

    Raises
    ------
    Unreachable
        Its certificate and private key do not fit together.
    """
    known = destination.credentials
    return _context(destination.address.tls_ca, known.get("certificate", ""), known.get("private_key", ""))


@lru_cache(maxsize=64)
def _context(authorities: str, certificate: str, private_key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities or None)
    if certificate:
        _load(context, certificate, private_key)
    return context


def _load(context: ssl.SSLContext, certificate: str, private_key: str) -> None:
    """The library takes a certificate and its key from a file only: one that nobody else can read, for a moment."""
    with tempfile.NamedTemporaryFile("w", prefix="hilum-", suffix=".pem") as file:
        file.write(f"{certificate.strip()}\n{private_key.strip()}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password=_no_password)
        except (ssl.SSLError, ValueError):
            raise Unreachable("The destination's certificate and private key cannot be used together.") from None


def _no_password() -> str:
    return ""
