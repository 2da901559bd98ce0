"""The figures of a proxy in Prometheus' text format: what the relay has counted, and what the proxy holds now."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import time

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hilum.imaging.relay.carrier import Carrier
from hilum.imaging.relay.spool import Spool


@dataclass(frozen=True, slots=True, eq=False)
class Figures(Collector):
    """What a proxy tells of itself.

    Attributes
    ----------
    carrier : Carrier
        What it relays.
    spool : Spool or None
        What it keeps.
    """

    carrier: Carrier
    spool: Spool | None

    def text(self) -> tuple[bytes, str]:
        """All figures, and their media type."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry) + generate_latest(), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What it holds at the time that it is asked."""
        yield GaugeMetricFamily("hilum_relay_connected", "Whether NATS is there.", int(self.carrier.connected))
        yield GaugeMetricFamily("hilum_relay_active", "Associations that are relayed now.", self.carrier.active)
        if self.spool is None:
            return
        held = self.spool.held()
        for name, text, value in (
            ("waiting", "Instances that wait in the folder to be delivered.", held.instances),
            ("waiting_bytes", "Bytes of them.", held.bytes),
            ("oldest_seconds", "How long the oldest of them has waited.", held.age(time())),
            ("set_aside", "Instances that were refused for good and lie aside.", held.refused),
        ):
            yield GaugeMetricFamily(f"hilum_relay_{name}", text, value)
