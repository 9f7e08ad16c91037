"""The time that a decoder may take, watched from within: it stops in time to say what it knows."""

import time

from viewer.derive.types import Limits


class TooLong(Exception):
    """The budget of this step is spent."""


class Budget:
    """A child that uses up its limits is killed; one that watches them ends with an answer."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun = time.monotonic()

    def is_spent(self, share: float) -> bool:
        """Whether more than this share of the time is gone, of the processor or by the clock."""
        return (
            time.process_time() > self._limits.cpu_seconds * share
            or time.monotonic() - self._begun > self._limits.wall_seconds * share
        )

    def check(self, share: float) -> None:
        if self.is_spent(share):
            raise TooLong
