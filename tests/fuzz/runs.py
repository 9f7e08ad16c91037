"""Run one target on mutated inputs until its time is up."""

import random
import time
from collections.abc import Callable

from tests.fuzz.mutations import mutate
from tests.fuzz.targets import Target

LARGEST = 256 * 1024  # bytes of an input
SHRINKS = 2_000  # tries to make a failing input smaller


class Failure(AssertionError):
    """A target raised what it must not raise."""


def fuzz(target: Target, seconds: float, seed: int | None = None) -> int:
    """Return how many inputs were tried. Raises Failure with the smallest input that was found."""
    chance = random.Random(seed)
    seeds, end, count = target.seeds(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(100):
            content = mutate(seeds, chance)[:LARGEST]
            count += 1
            try:
                target.run(content)
            except Exception as error:
                smallest = _shrunk(content, target.run, type(error))
                raise Failure(f"{target.name} fails on {smallest!r}") from error
    return count


def _shrunk(content: bytes, run: Callable[[bytes], None], kind: type[Exception]) -> bytes:
    """Take parts out as long as it fails in the same way."""
    size, tries = len(content) // 2, 0
    while size and tries < SHRINKS:
        at = 0
        while at < len(content) and tries < SHRINKS:
            tries += 1
            less = content[:at] + content[at + size :]
            try:
                run(less)
            except kind:
                content = less
            except Exception:  # noqa: BLE001 - another finding, for another run
                at += size
            else:
                at += size
        size //= 2
    return content
