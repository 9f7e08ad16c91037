"""One line when a service stops answering, and one when it answers again, with the count.

Every page, job and task meets an outage, over and over: a line each, or a traceback, fills the disk
and hides what happened. The state is kept in each process, which logs for itself.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Outage:
    failures: int = 0
    began_at: float = field(default_factory=time.monotonic)


class Outages:
    """What does not answer now, as far as this process knows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Outage] = {}

    def note(self, service: str, reason: object) -> None:
        """Count a failure of this service; log the first."""
        with self._lock:
            outage = self._known.setdefault(service, _Outage())
            outage.failures += 1
            is_new = outage.failures == 1
        if is_new:
            log.warning("%s does not answer: %s", service, reason)

    def end(self, service: str) -> None:
        """It answered. Cheap, and logs nothing, unless it did not before."""
        if service not in self._known:
            return
        with self._lock:
            outage = self._known.pop(service, None)
        if outage is not None:
            log.warning(
                "%s answers again, after %.0f s and %d failures",
                service,
                time.monotonic() - outage.began_at,
                outage.failures,
            )
