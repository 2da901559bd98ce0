"""Whom to believe over TLS, when Hilum calls others: who is trusted by this machine, and whom a setting adds."""

import ssl
from functools import lru_cache
from pathlib import Path

from hilum.core.errors import Invalid


@lru_cache(maxsize=16)
def trusting(authorities: Path | None) -> ssl.SSLContext:
    """Make what a client of HTTPS checks certificates by; once, for it reads all certificates of the system.

    Parameters
    ----------
    authorities
        Certificates (PEM) that are trusted beside the system's.

    Raises
    ------
    Invalid
        The file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context()
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"HILUM_OUTGOING_CA names no certificates in PEM: {authorities}.") from error
    return context
