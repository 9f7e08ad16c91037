"""What every store can do, and how it says no."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

# Every segment: no leading dot, and nothing that a file system or a URL treats specially.
_KEY = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}(/(?!\.)[A-Za-z0-9._-]{1,200})*")


class StorageError(Exception):
    """The store could not do it; the message is a sentence for the office."""


class Missing(StorageError):
    """There is nothing under this key."""


class Occupied(StorageError):
    """There is something under this key already."""


class Unavailable(StorageError):
    """The store cannot take or give bytes now."""


@dataclass(frozen=True, slots=True)
class Stat:
    size: int  # bytes
    sha256: str | None = None  # where the backend keeps one


class Part(Protocol):
    """A file on its way in. Nobody sees it under a key until it is placed."""

    path: Path

    def write(self, data: bytes | memoryview, /) -> int:
        """Append; how many bytes were taken. Raises Unavailable."""
        ...

    def seal(self) -> None:
        """Make its bytes durable and close it. Raises Unavailable; then throw the part away."""

    def discard(self) -> None:
        """Forget it. Forgetting twice is fine."""


class Store(Protocol):
    """Where originals and their copies are kept."""

    def new_part(self) -> Part:
        """An empty file on the way in, on the same device as the store's own."""

    def workplace(self) -> Path:
        """An empty folder on the store's own device, for making copies in. Raises Unavailable."""

    def place(self, key: str, part: Path) -> None:
        """Make the sealed file `part` appear under key, whole or not at all, durably.

        Raises Occupied, and never replaces. Raises Unavailable.
        """

    def settle(self, key: str) -> None:
        """Make the name of a file that another run placed as durable as our own would be."""

    def open(self, key: str, start: int = 0) -> BinaryIO:
        """The bytes from `start`. Raises Missing, Unavailable."""

    def stat(self, key: str) -> Stat:
        """Size and, where the backend keeps one, checksum. Raises Missing, Unavailable."""

    def move(self, key: str, to: str) -> None:
        """Give what lies under key another name, durably; at no moment it has none.

        Moving what was moved before is fine. Raises Missing, Occupied, Unavailable.
        """

    def remove(self, key: str) -> None:
        """Forget key. Forgetting what isn't there is fine. Raises Unavailable."""

    def tidy(self, older_than: float) -> int:
        """Clear away what dead writers left so many seconds ago. How many there were."""


def check_key(key: str) -> str:
    """The key itself. Raises ValueError for one that we would never have chosen."""
    if not _KEY.fullmatch(key) or len(key) > 500:
        raise ValueError(f"not a key: {key!r}")
    return key
