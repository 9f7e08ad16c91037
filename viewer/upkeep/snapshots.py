"""Snapshots of a SQLite database, taken before its migrations.

Keep one for each schema revision, and the newest three of those: a start that fails repeatedly must
not evict the snapshot of an earlier version.
"""

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from viewer.extensions import db
from viewer.storage import fsync_file, fsync_folder

KEPT = 3
_NAME = re.compile(r"viewer-(?P<revision>[\w.-]+)-(?P<taken>\d{8}T\d{6}Z)\.db")


class NoSnapshot(Exception):
    """The snapshot failed, so nothing was migrated."""


def folder_of(data_dir: Path) -> Path:
    return data_dir / "snapshots"


def take_snapshot(data_dir: Path, revision: str) -> Path:
    """Copy the database atomically and durably; delete old snapshots. Raises NoSnapshot."""
    folder = folder_of(data_dir)
    path = folder / f"viewer-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.db"
    part = path.with_suffix(".part")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # customers' messages: readable by this user alone
        _vacuum_into(part)
        fsync_file(part)
        part.replace(path)
        fsync_folder(folder)
        fsync_folder(data_dir)
    except (db.engine.dialect.loaded_dbapi.Error, OSError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise NoSnapshot(
            f"DATA_DIR: no copy of the database could be made in {folder} ({reason}), so it was not"
            " migrated. A copy needs as much free space as the database has."
        ) from error
    _drop_old(folder, path)
    return path


def _vacuum_into(path: Path) -> None:
    path.unlink(missing_ok=True)  # left by a crash: VACUUM INTO refuses a file with content
    # Use the driver: the engine would begin a transaction, and VACUUM cannot run in one.
    with contextlib.closing(db.engine.raw_connection()) as connection:
        driver: Any = connection.driver_connection
        driver.execute("VACUUM INTO ?", (str(path),))


def _drop_old(folder: Path, newest: Path) -> None:
    """Keep the newest snapshot of each revision, and the newest three of those."""
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    # The name breaks ties within one second; the new snapshot comes first in any case.
    found.sort(key=lambda one: (one[1] == newest, one[0]["taken"], one[1].name), reverse=True)
    kept: set[str] = set()
    for match, path in found:
        if match["revision"] in kept or len(kept) == KEPT:
            path.unlink(missing_ok=True)
        kept.add(match["revision"])
    for part in folder.glob("viewer-*.part"):
        part.unlink(missing_ok=True)
