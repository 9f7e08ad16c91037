"""The protocol of a store, and its errors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

MARKER = ".viewer-store"  # holds the store's identity: an empty mount point has none


class StorageError(Exception):
    """The store could not do it; the message is a sentence for the office."""


class Missing(StorageError):
    """There is nothing under this key. Only a store that proved to be the expected one says so."""


class Occupied(StorageError):
    """There is something under this key already."""


class Unavailable(StorageError):
    """The store cannot take or give bytes now."""


class UnknownStore(StorageError):
    """The address names no store that this version can use."""


class UnsafeStore(StorageError):
    """The service would overwrite or damage files."""


@dataclass(frozen=True, slots=True)
class Stat:
    size: int  # bytes
    sha256: str | None = None  # where the backend keeps one


class Opened(Protocol):
    """Some or all bytes of a file, to be read once from the front. Not seekable."""

    size: int  # of the whole file, wherever this stream begins and ends

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; b"" at the end. Raises Unavailable."""
        ...

    def fileno(self) -> int:
        """The descriptor of a file on this host, standing at the next byte.

        Raises io.UnsupportedOperation for others.
        """
        ...

    def close(self) -> None:
        """Closing twice is fine."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Store(Protocol):
    """Where originals and their derivatives are kept."""

    @property
    def address(self) -> str:
        """Where it is, for the operator. No secrets."""
        ...

    # --- Whose it is ---

    def identity(self) -> str | None:
        """What its marker says; None where there is none. Raises Unavailable."""
        ...

    def is_empty(self) -> bool:
        """Whether there is nothing, not even a marker. Raises Unavailable."""
        ...

    def mark(self, identity: str) -> None:
        """Leave the marker, whole and durably, never in the place of another's.

        Raises Unavailable.
        """

    def expect(self, identity: str) -> None:
        """Take and give nothing from now on unless the marker says this.

        A store that expects nothing has to be without a marker.
        """

    def why_away(self) -> str | None:
        """Why this is not the expected store, in a sentence; None if it is."""
        ...

    def is_away(self) -> bool:
        """Whether this is not the expected store: a disk that is not mounted, or another's."""
        ...

    # --- Files ---

    def place(self, key: str, part: Path) -> None:
        """Make the sealed file `part` appear under key, whole or not at all, durably.

        Raises Occupied, and never replaces. Raises Unavailable.
        """

    def settle(self, key: str) -> None:
        """Make the name of a file that another run placed as durable as our own would be."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> Opened:
        """`length` bytes from `start`, or all that follow. Raises Missing, Unavailable."""
        ...

    def stat(self, key: str) -> Stat:
        """Size and, where the backend keeps one, checksum. Raises Missing, Unavailable."""
        ...

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Every key that begins like this, with the file's size, in no order. Raises Unavailable.

        A file placed or removed meanwhile may be there or not.
        """
        ...

    def move(self, key: str, to: str) -> None:
        """Give what lies under key another name, durably; at no moment it has none.

        Idempotent. Raises Missing, Occupied, Unavailable.
        """

    def remove(self, key: str) -> None:
        """Forget key. Forgetting what isn't there is fine. Raises Unavailable."""

    def erase(self, key: str) -> bool:
        """Remove key with all earlier versions of it, and the folders that it leaves empty.

        False if earlier versions may be left: then their retention ends them. Raises Unavailable.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the file would lie on this host's disk; None for a store that is elsewhere."""
        ...

    # --- Past us -----------------------------------------------------------------------------

    def handoff(self, key: str) -> str | None:
        """The internal location under which the reverse proxy serves key by itself.

        None where it cannot: then the bytes go through us. Raises Unavailable.
        """
        ...

    def signed_address(self, key: str, overrides: Mapping[str, str]) -> str | None:
        """An address that opens key to whoever has it, the same until its window of time ends.

        `overrides`: what the answer says, as S3's own parameters. None for a store without such
        addresses. Raises Unavailable.
        """
        ...

    def glance(self, key: str) -> int | None:
        """The size, in bytes, if it can be told soon; it may be as of an hour ago. None: not now.

        Raises Missing; a store on this host's disk also Unavailable.
        """
        ...


def must_be_here(store: Store) -> None:
    """Raises Unavailable if this is not the expected store."""
    if reason := store.why_away():
        raise Unavailable(reason)
