"""What was worked out of late, kept for the next time: a bounded number of answers that only their key decides."""

from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """The last values used, at most ``most`` of them; any thread may ask and add."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[Key, Value] = {}
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value of a key, which is then the last to go; None where there is none any more."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
            return value

    def add(self, key: Key, value: Value) -> None:
        """Keep a value; the one longest unused goes for it."""
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = value
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]
