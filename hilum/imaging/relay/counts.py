"""What the relay counts since the process started, for Prometheus; ``figures`` tells it. No label is what somebody else
wrote: neither titles nor UIDs, nor reasons as they come over the bus."""

from typing import Final

from prometheus_client import Counter

CONNECTIONS: Final = Counter("hilum_relay_connections", "Connections that were accepted.")
ASSOCIATIONS: Final = Counter(
    "hilum_relay_associations",
    "Associations that began: relayed to the other end, answered for it, or kept here.",
    ["how"],
)
REJECTED: Final = Counter("hilum_relay_rejected", "Connections and associations that were refused.", ["reason"])
ENDED: Final = Counter("hilum_relay_ended", "Relayed associations that ended: closed in order, or aborted.", ["how"])
BYTES: Final = Counter("hilum_relay_bytes", "Bytes of DICOM carried to the other end, and from there.", ["direction"])
IGNORED: Final = Counter("hilum_relay_ignored", "Messages that were none of the relay's.", ["reason"])
INSTANCES: Final = Counter(
    "hilum_relay_instances",
    "Instances of store-and-forward: kept, not taken, delivered, or refused for good.",
    ["how"],
)
