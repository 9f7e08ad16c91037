"""Choose the originals that a drill restores and fetches: random ones, the newest, all new ones."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.listing import open_tables
from viewer.upkeep.backup.snapshots import Snapshot
from viewer.upkeep.backup.targets.target import Target

NEWEST = 50

_TABLES = """
CREATE TABLE listed (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE known (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE chosen (key TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_RANDOM = "INSERT OR IGNORE INTO chosen SELECT key FROM listed ORDER BY random() LIMIT ?"
_NEWEST = "INSERT OR IGNORE INTO chosen SELECT key FROM listed ORDER BY moment(key) DESC LIMIT ?"
_NEW = (
    "INSERT OR IGNORE INTO chosen SELECT key FROM listed WHERE key NOT IN (SELECT key FROM known)"
)
_ALL = "INSERT OR IGNORE INTO chosen SELECT key FROM listed"


class Sample:
    """The chosen keys with their hashes, in a file: a full drill has millions."""

    def __init__(self) -> None:
        self._db = open_tables(_TABLES)
        self._db.create_function("moment", 1, moment_of, deterministic=True)

    def close(self) -> None:
        self._db.close()

    def choose(
        self, target: Target, snapshot: Snapshot, proven: Snapshot | None, count: int | None
    ) -> None:
        """So many at random (None: all), the newest, and what came since the proven snapshot.

        Raises DamagedSnapshot, Unavailable.
        """
        self._read("listed", target, snapshot)
        if count is None:
            self._db.execute(_ALL)
            return
        self._db.execute(_RANDOM, (count,))
        self._db.execute(_NEWEST, (NEWEST,))
        if proven is not None:
            self._read("known", target, proven)
            self._db.execute(_NEW)

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM chosen").fetchone()[0])

    def keys(self) -> Iterator[str]:
        return (key for (key,) in self._db.execute("SELECT key FROM chosen"))

    def hash_of(self, key: str) -> str | None:
        """Its hash by the list; None for one that was not chosen."""
        found = self._db.execute(
            "SELECT sha256 FROM listed JOIN chosen USING (key) WHERE key = ?", (key,)
        ).fetchone()
        return found[0] if found else None

    def _read(self, table: str, target: Target, snapshot: Snapshot) -> None:
        self._db.execute("BEGIN")
        self._db.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608
            snapshots.read_list(target, snapshot),
        )
        self._db.execute("COMMIT")


def moment_of(key: str) -> str:
    """When the original came, as its key says: 2025/01/15/617-555-0123/messages/1736977200_…"""
    path = PurePosixPath(key)
    return "/".join((*path.parts[:3], path.name))
