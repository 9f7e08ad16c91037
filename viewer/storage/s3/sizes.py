"""Sizes of objects, as the server said lately: serving one does not ask it each time."""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from viewer.storage.store import Unavailable

_KNOWN_FOR = 3600.0  # seconds; an object never changes, unless somebody else changes it
_SILENT_FOR = 30.0  # seconds in which a server that did not answer is not asked again
_MOST = 20_000  # sizes, of about 200 bytes


class Sizes:
    """What this process knows of one store. Threads share it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._silent_until = 0.0
        self._lock = threading.Lock()

    def of(self, key: str, ask: Callable[[str], int]) -> int | None:
        """The size of this object, in bytes; None if the server does not say. Raises Missing."""
        moment = time.monotonic()
        with self._lock:
            size, until = self._known.get(key, (0, 0.0))
            if moment < until:
                return size
            if moment < self._silent_until:
                return None
        with contextlib.suppress(Unavailable):
            size = ask(key)
            self._remember(key, size)
            return size
        self._silent_until = time.monotonic() + _SILENT_FOR
        return None

    def _remember(self, key: str, size: int) -> None:
        with self._lock:
            self._known[key] = size, time.monotonic() + _KNOWN_FOR
            self._known.move_to_end(key)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
