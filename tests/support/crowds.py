"""Several at once."""

import threading
from collections.abc import Sequence


def run_all(threads: Sequence[threading.Thread]) -> None:
    """Start all of them, and wait until each has ended, a minute at most."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
