"""CloudEvents 1.0 on the wire: structured (the whole event is one JSON document) and binary (its attributes are header
fields of HTTP, its data is the body)."""

from typing import Final
from urllib.parse import quote

import msgspec

from hilum.core.delivery.consumer import CloudEvent

STRUCTURED_TYPE: Final = "application/cloudevents+json"
_encode = msgspec.json.Encoder().encode
# All of printable ASCII but the quotation mark and the percent sign (HTTP binding 1.0.2, section 3.1.3.2).
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def structured(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Give the header fields and the body of an event as one JSON document."""
    return {"Content-Type": STRUCTURED_TYPE}, _encode(event)


def binary(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Give the header fields and the body of an event whose body is its data alone."""
    attributes = {
        f"ce-{name}": quote(str(value), safe=_PLAIN)
        for name, value in event.items()
        if name not in ("data", "datacontenttype")
    }
    return {"Content-Type": str(event["datacontenttype"])} | attributes, _encode(event["data"])
