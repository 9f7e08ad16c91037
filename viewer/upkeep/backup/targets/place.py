"""Where a target is: what differs between a folder on a disk, a bucket in S3 and another host.

TargetError
  Refused        it must not be used; nothing was written
  LostTarget     it failed or went away while it was used
"""

import uuid
from typing import Protocol

from viewer.storage import Spool, StorageError, Store

MARKER = ".viewer-backup"


class TargetError(Exception):
    """The target cannot be used; the message is a sentence for the operator."""


class Refused(TargetError):
    """The target must not be used. Nothing was written."""


class LostTarget(TargetError):
    """The target failed, or is not there any more."""


class Place(Protocol):
    """A place for backups, before anybody knows whether it is a target."""

    url: str  # the subject of its runs
    store: Store
    empty: str  # what a first use needs, such as "an empty folder"
    why_lost: str  # why it may be without its marker, and what to do for a new one

    def check(self, *, same_filesystem: bool) -> None:
        """Raises Refused where one disaster would take both: the originals and their backup."""

    def probe(self) -> None:
        """Try whether it keeps a store's promises, where that is not known. Slow.

        Raises Refused, LostTarget.
        """

    def make(self) -> None:
        """Make the place, if that is for us to do. Raises OSError."""

    def spool(self, target: uuid.UUID) -> Spool:
        """Where the files of this target are written before they get their names."""
        ...

    def tidy(self) -> None:
        """Clear away what dead runs left half-written beyond the spool. Only under the lease."""

    def check_spool(self, size: int) -> None:
        """Raises Refused unless a file of this size may lie in the spool for a while."""

    def free(self) -> int | None:
        """The bytes for which it has room; None where nobody knows."""
        ...

    def sha256(self, key: str) -> str:
        """The SHA-256 of all bytes of a file, as they are now. Raises Missing, Unavailable."""
        ...

    def forget_empty_folders(self, prefix: str) -> None:
        """Remove the folder, and those in it, if they are empty; where there are folders."""

    def reason(self, trouble: StorageError) -> str:
        """What the store said, as the end of a sentence."""
        ...

    def describe(self, trouble: StorageError) -> str:
        """What the store said while it was used, in the words of a target."""
        ...
