"""Retry-After (RFC 9110 section 10.2.3): how long a server asks to be left alone."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST: Final = 3600.0
"""Seconds after which a server is asked again, whatever it says."""


def seconds_of(value: str) -> float:
    """Read a Retry-After in seconds or as a date of HTTP.

    Parameters
    ----------
    value
        As it stands in the header field; it may be empty.

    Returns
    -------
    float
        Seconds from now, 0 to `LONGEST`; 0 for what is neither.
    """
    text = value.strip()[:64]
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST)
    try:
        moment = parsedate_to_datetime(text)
        left = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)
    except (ValueError, OverflowError):
        return 0.0
    return min(max(left.total_seconds(), 0.0), LONGEST)
