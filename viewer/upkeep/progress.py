"""How far a run is, for whoever watches it."""

from typing import Protocol


class Progress(Protocol):
    """Told of each stage that may take more than a moment."""

    def begin(self, stage: str, length: int) -> None: ...

    def advance(self, count: int) -> None: ...


class Unwatched:
    """Nobody watches."""

    def begin(self, stage: str, length: int) -> None:
        """Nothing to show."""

    def advance(self, count: int) -> None:
        """Nothing to show."""


def size_in_words(size: int) -> str:
    """Bytes as people say them."""
    if size < 1_000_000_000:
        return f"{size / 1_000_000:,.1f} MB"
    return f"{size / 1_000_000_000:,.1f} GB"
