"""Which files a snapshot needs, and where they are: lists of millions, compared in SQL.

The tables are in a temporary database in DATA_DIR, which the kernel removes with our last breath: a
dictionary of a million keys would take more memory than the whole process may.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa

from viewer.config import settings
from viewer.extensions import sqlite_driver
from viewer.models import MediaAttachment
from viewer.office import findings
from viewer.storage import Store, keys

BATCH = 1000  # rows of one query, keys of one insert
SLICES = 30  # the pool is read once in so many days
_PAGE_CACHE = 16_000  # kB

_TABLES = """
CREATE TABLE files (
    key TEXT PRIMARY KEY, size INTEGER, sha256 TEXT, media TEXT NOT NULL, original TEXT NOT NULL,
    storage TEXT, former TEXT, is_damaged INTEGER NOT NULL, is_left_out INTEGER DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE pool (key TEXT PRIMARY KEY, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE source (
    storage TEXT, key TEXT, size INTEGER NOT NULL, PRIMARY KEY (storage, key)
) WITHOUT ROWID;
CREATE TABLE known (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE done (key TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE altered (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE accepted (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE named (family TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_FILES = "files (key, size, sha256, media, original, storage, former, is_damaged)"

# An original is not in the pool, or with another size, or placed there by a run that ended before
# its comparison: a power cut may have torn that file.
_TO_COPY = """
SELECT files.* FROM files LEFT JOIN pool USING (key) LEFT JOIN known USING (key)
    LEFT JOIN source ON source.key = files.key AND source.storage = files.storage
WHERE CASE WHEN files.sha256 IS NULL
    THEN source.size IS NOT NULL AND source.size IS NOT pool.size
    ELSE pool.size IS NOT files.size OR known.sha256 IS NOT files.sha256 END
"""
_NOT_COVERED = """
SELECT files.* FROM files LEFT JOIN pool USING (key)
WHERE files.sha256 IS NOT NULL AND NOT is_left_out AND pool.size IS NOT files.size
"""
_WRONG_AT_SOURCE = """
SELECT files.* FROM files
    LEFT JOIN source ON source.key = files.key AND source.storage = files.storage
WHERE files.sha256 IS NOT NULL AND source.size IS NOT files.size
"""
# What the last verified snapshot named, and is not the same any more.
_GONE_ROWS = """
SELECT known.key FROM known LEFT JOIN files USING (key) WHERE files.sha256 IS NOT known.sha256
"""
_GONE_BYTES = """
INSERT OR IGNORE INTO altered
SELECT files.key FROM files JOIN known USING (key)
    LEFT JOIN source ON source.key = files.key AND source.storage = files.storage
WHERE source.size IS NOT files.size
"""


@dataclass(frozen=True, slots=True)
class File:
    """An original, or a derivative (without size and hash), that the snapshot's rows name."""

    key: str
    size: int | None
    sha256: str | None
    media: uuid.UUID
    original: str  # the key of its original
    storage: uuid.UUID | None
    former: uuid.UUID | None
    is_damaged: bool  # and known to be
    is_in_pool: bool = False  # with its size
    is_known: bool = False  # the last verified snapshot names it with this hash


def open_tables(script: str) -> Any:
    """An empty database with these tables, in a file without a name: it is gone when closed."""
    # Not a temporary database of SQLite's own: some builds keep those in memory, whole.
    folder = settings().data_dir
    is_ours = os.access(folder, os.W_OK)  # else the backup has a user of its own
    descriptor, path = tempfile.mkstemp(prefix=".backup-", dir=folder if is_ours else None)
    os.close(descriptor)
    try:
        made = sqlite_driver.connect(path, isolation_level=None)
        made.execute("PRAGMA journal_mode = OFF")
        made.execute("PRAGMA synchronous = OFF")
        made.execute("PRAGMA locking_mode = EXCLUSIVE")  # so the file stays open
        made.execute(f"PRAGMA cache_size = -{_PAGE_CACHE}")
        made.executescript(script)
    finally:
        Path(path).unlink()
    return made


class Listed(Protocol):
    """What can tell its files, such as a store."""

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]: ...


class Listing:
    """The lists of one run. Used by one thread."""

    def __init__(self) -> None:
        self._db = open_tables(_TABLES)
        self._db.create_function("family", 1, keys.family, deterministic=True)
        self._db.create_function("slice", 1, slice_of, deterministic=True)

    def close(self) -> None:
        self._db.close()

    # --- Filling ---

    def read_rows(self, connection: sa.Connection) -> None:
        """Every row with bytes, also of the trash, from the copy of the database.

        In the order of keys, so by day, as the rows were written; by an index of another order
        each would be read from another page.
        """
        media, kept = MediaAttachment, MediaAttachment.is_in("kept")
        query = sa.select(
            media.id, media.file_path, media.file_size, media.sha256, media.storage,
            media.former_storage, media.state, media.problem, media.thumbnail_path,
            media.preview_path, media.full_path, media.playable_path,
        ).where(kept, media.sha256.is_not(None)).order_by(media.file_path)  # fmt: skip
        streamed = connection.execution_options(stream_results=True, yield_per=BATCH)
        for rows in streamed.execute(query).partitions():
            self._insert(_FILES, (line for row in rows for line in _lines(row)), 8)

    def read_known(self, files: Iterable[tuple[str, str]]) -> None:
        """The list of the last verified snapshot."""
        self._insert("known", files, 2)

    def forget_known(self) -> None:
        self._db.execute("DELETE FROM known")

    def read_accepted(self, keys: Iterable[str]) -> None:
        """Keys whose change a person accepted."""
        self._insert("accepted", ((key,) for key in keys), 1)

    def forget_accepted(self) -> None:
        self._db.execute("DELETE FROM accepted")

    def read_pool(self, store: Listed, prefix: str) -> None:
        """What the target says now that it has."""
        self._db.execute("DELETE FROM pool")
        files = ((key.removeprefix(prefix), size) for key, size in store.keys(prefix))
        self._insert("pool", files, 2)

    def read_sources(self, store_of: Callable[[uuid.UUID], Store]) -> None:
        """What the stores say now that they have."""
        self._db.execute("DELETE FROM source")
        for (storage,) in self._all("SELECT DISTINCT storage FROM files WHERE storage NOT NULL"):
            found = store_of(uuid.UUID(storage)).keys()
            files = ((storage, key, size) for key, size in found if keys.is_media(key))
            self._insert("source", files, 3)

    # --- Marking ---

    def note_done(self, file: File, sha256: str) -> None:
        """It was hashed in the pool, or on its way there, in this run."""
        self._db.execute("INSERT OR REPLACE INTO done VALUES (?, ?)", (file.key, sha256))

    def note_altered(self, file: File) -> None:
        self._db.execute("INSERT OR IGNORE INTO altered VALUES (?)", (file.key,))

    def leave_out(self, file: File) -> None:
        """The snapshot does not promise it: there are no right bytes of it anywhere."""
        self._db.execute("UPDATE files SET is_left_out = 1 WHERE key = ?", (file.key,))

    # --- Asking ---

    def count(self, condition: str = "sha256 IS NOT NULL") -> tuple[int, int]:
        """How many originals, and their bytes."""
        query = f"SELECT count(*), coalesce(sum(size), 0) FROM files WHERE {condition}"  # noqa: S608
        [(count, size)] = self._all(query)
        return count, size

    def promised(self) -> Iterator[tuple[str, str]]:
        """Key and hash of each original that the snapshot promises, in the order of keys."""
        query = "SELECT key, sha256 FROM files WHERE sha256 IS NOT NULL AND NOT is_left_out"
        return self._all(f"{query} ORDER BY key")

    def count_promised(self) -> tuple[int, int]:
        return self.count("sha256 IS NOT NULL AND NOT is_left_out")

    def to_copy(self) -> Iterator[File]:
        return self._files(_TO_COPY)

    def count_to_copy(self) -> tuple[int, int]:
        """How many, and the bytes for which the target must have room."""
        new = "CASE WHEN pool_size IS NOT size THEN coalesce(size, source_size, 0) ELSE 0 END"
        inner = _TO_COPY.replace(
            "files.*", "files.size AS size, pool.size AS pool_size, source.size AS source_size", 1
        )
        query = f"SELECT count(*), coalesce(sum({new}), 0) FROM ({inner})"  # noqa: S608
        [(count, size)] = self._all(query)
        return count, size

    def not_covered(self) -> Iterator[File]:
        """Promised, and not in the pool with its size."""
        return self._files(_NOT_COVERED)

    def wrong_at_source(self) -> Iterator[File]:
        """Originals that their store does not have, or with another size."""
        return self._files(_WRONG_AT_SOURCE)

    def sample(self, count: int) -> Iterator[File]:
        """So many promised files, by chance."""
        promised = "sha256 IS NOT NULL AND NOT is_left_out"
        return self._files(
            "SELECT * FROM files WHERE key IN"  # noqa: S608
            f" (SELECT key FROM files WHERE {promised} ORDER BY random() LIMIT {count})"
        )

    def to_read_back(self, slices: Iterable[int]) -> Iterator[File]:
        """What this run wrote, and what is in these slices."""
        return self._files(f"SELECT * FROM files WHERE {_to_read_back(slices)}")  # noqa: S608

    def count_to_read_back(self, slices: Iterable[int]) -> int:
        return self.count(_to_read_back(slices))[0]

    def gone_rows(self) -> Iterator[str]:
        """Keys of the last verified snapshot that no row names now with the same hash."""
        return (key for (key,) in self._all(_GONE_ROWS))

    def count_altered(self, gone: Iterable[str]) -> int:
        """How many files are gone or altered that nobody accepted: in the rows, in the stores."""
        self._insert("altered", ((key,) for key in gone), 1)
        self._db.execute(_GONE_BYTES)
        [(count,)] = self._all(
            "SELECT count(*) FROM altered WHERE key NOT IN (SELECT key FROM accepted)"
        )
        return int(count)

    def is_accepted(self, file: File) -> bool:
        found = self._db.execute("SELECT 1 FROM accepted WHERE key = ?", (file.key,))
        return found.fetchone() is not None

    def accepted(self, *, with_new: bool) -> Iterator[str]:
        """Keys of rows whose original is altered still: accepted ones, or all of them."""
        query = "SELECT key FROM altered JOIN files USING (key)"
        if not with_new:
            query += " JOIN accepted USING (key)"
        return (key for (key,) in self._all(f"{query} ORDER BY key"))

    def count_known(self) -> int:
        [(count,)] = self._all("SELECT count(*) FROM known")
        return int(count)

    # --- Forgetting ---

    def note_named(self, families: Iterable[str]) -> None:
        """A snapshot names the original of this family."""
        self._insert("named", ((one,) for one in families), 1)

    def unnamed(self) -> Iterator[list[str]]:
        """Keys of the pool that belong to no named family, in batches."""
        query = (
            "SELECT key FROM pool WHERE key > ? AND family(key) NOT IN (SELECT family FROM named)"
            " ORDER BY key LIMIT ?"
        )
        after = ""
        while found := [key for (key,) in self._db.execute(query, (after, BATCH))]:
            yield found
            after = found[-1]

    def _files(self, query: str) -> Iterator[File]:
        # By pages of keys, not by one open cursor: what is asked changes the tables.
        after = ""
        while True:
            found = self._db.execute(
                f"SELECT inside.*, pool.size, known.sha256 FROM ({query}) AS inside"  # noqa: S608
                " LEFT JOIN pool ON pool.key = inside.key LEFT JOIN known ON known.key = inside.key"
                f" WHERE inside.key > ? ORDER BY inside.key LIMIT {BATCH}",
                (after,),
            ).fetchall()
            if not found:
                return
            for row in found:
                yield _file(row)
            after = found[-1][0]

    def _all(self, query: str) -> Iterator[Any]:
        return iter(self._db.execute(query))

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]], width: int) -> None:
        values = ",".join("?" * width)
        self._db.execute("BEGIN")
        try:
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({values})", rows)  # noqa: S608
        finally:
            self._db.execute("COMMIT")  # there is no journal to roll back with


def _to_read_back(slices: Iterable[int]) -> str:
    chosen = ",".join(str(int(one)) for one in slices) or "NULL"
    is_due = f"(key IN (SELECT key FROM done) OR slice(sha256) IN ({chosen}))"  # noqa: S608
    return f"sha256 IS NOT NULL AND NOT is_left_out AND {is_due}"


def slice_of(sha256: str) -> int:
    """The day of the cycle on which a file of the pool is read again."""
    return int(sha256[:8], 16) % SLICES


def _lines(row: Any) -> Iterator[tuple[Any, ...]]:
    is_damaged = (
        row.state is MediaAttachment.State.DAMAGED or row.problem in findings.PROBLEMS.values()
    )
    storage, former = (one and str(one) for one in (row.storage, row.former_storage))
    media, original = str(row.id), row.file_path
    yield original, row.file_size, row.sha256, media, original, storage, former, is_damaged
    copies = (row.thumbnail_path, row.preview_path, row.full_path, row.playable_path)
    for key in filter(None, copies):
        yield key, None, None, media, original, storage, former, is_damaged


def _file(row: tuple[Any, ...]) -> File:
    key, size, sha256, media, original, storage, former, is_damaged, _, in_pool, known = row
    return File(
        key, size, sha256, uuid.UUID(media), original,
        uuid.UUID(storage) if storage else None, uuid.UUID(former) if former else None,
        bool(is_damaged), sha256 is not None and in_pool == size,
        sha256 is not None and known == sha256,
    )  # fmt: skip
