"""Write a snapshot: the copy of the database, the list that was read from it, and its facts."""

import hashlib
import shutil
from datetime import datetime
from importlib import metadata
from typing import Any

from viewer.failpoint import failpoint
from viewer.upkeep.backup import database, snapshots
from viewer.upkeep.backup.listing import Listing
from viewer.upkeep.backup.snapshots import PREFIX, Snapshot
from viewer.upkeep.backup.targets.target import Target


def copy_database(
    target: Target, name: str, listing: Listing
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy the database and read its list. What the snapshot says of them.

    Raises NoCopy, StorageError.
    """
    folder = target.spool.decoder_folder()
    folder.chmod(0o700)
    try:
        with database.copied(folder) as copy:
            listing.read_rows(copy.connection)
            facts = copy.facts()
        with copy.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = copy.path.stat().st_size
        target.store.place(f"{PREFIX}{name}/{copy.name}", copy.path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failpoint("backup.database")
    return {"name": copy.name, "size": size, "sha256": sha256}, facts


def write_list(target: Target, name: str, listing: Listing, copied: dict[str, Any]) -> Any:
    """Write SHA256SUMS with all that the snapshot promises. What the snapshot says of it."""
    written = snapshots.write_list(
        target, name, listing.promised(), (copied["name"], copied["sha256"])
    )
    failpoint("backup.listed")
    return written


def complete(
    target: Target,
    number: int,
    taken_at: datetime,
    listing: Listing,
    copied: dict[str, Any],
    written: dict[str, Any],
    facts: dict[str, Any],
) -> Snapshot:
    """Write snapshot.json; from now on the snapshot counts."""
    files, size = listing.count_promised()
    return snapshots.complete(
        target,
        snapshots.name_of(number, taken_at),
        {
            "number": number,
            "taken_at": snapshots.stamp(taken_at),
            "target": str(target.id),
            "viewer": str(target.viewer),
            "version": metadata.version("conversation-viewer"),
            "database": copied,
            "list": written,
            "files": files,
            "bytes": size,
            **facts,
        },
    )
