"""From the event table to whoever wants to know, at least once and in order: handlers in the workers, webhooks, NATS
JetStream, and sites that read when they are there. What an event means is left to those who write and read it."""

from hilum.core.delivery.consumer import Undelivered
from hilum.core.delivery.handlers import Handle, Handlers

__all__ = ["Handle", "Handlers", "Undelivered"]
