"""Decide what is restored, and refuse before anything is touched.

CannotRestore   the message is a sentence for the operator
"""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from viewer import holdings
from viewer.config import settings
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.storage import Unavailable, UnknownStore
from viewer.upkeep import schema
from viewer.upkeep.backup import database as databases
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.dump import NoCopy
from viewer.upkeep.backup.snapshots import DamagedSnapshot, Snapshot
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import Target, TargetError
from viewer.upkeep.progress import size_in_words
from viewer.upkeep.restore import journal as journals
from viewer.upkeep.restore.journal import Journal, UnreadableJournal

IN_USE = (
    "A whole restore needs an empty database and an empty MEDIA_ROOT, so nothing was touched. "
    "Set DATA_DIR, MEDIA_ROOT and DATABASE_URL to empty ones. To bring back files that this viewer "
    "misses: viewer restore --only-missing"
)
SURVIVED = (
    "This is the folder that belongs to the snapshot. If its database alone is lost, restore that "
    "beside it: --keep-files"
)


class CannotRestore(Exception):
    """The restore is refused, or cannot go on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is restored from where, and what is to be said aloud of it."""

    target: Target
    snapshot: Snapshot
    begun: Journal | None  # this restore was begun earlier, and did not end

    @property
    def notes(self) -> list[str]:
        said = []
        if self.begun:
            said.append(f"Going on with the restore of snapshot {self.snapshot.number}.")
        if not self.snapshot.is_verified:
            said.append(f"Snapshot {self.snapshot.number} was never verified.")
        return said


def media_root() -> Path:
    return settings().media_root


def make_plan(url: str, number: int | None, *, keep_files: bool = False) -> Plan:
    """Look at target, snapshot, database and folder; write nothing. Raises CannotRestore.

    `keep_files`: the folder is the one that belongs to the snapshot, and may have its files.
    """
    try:
        target = targets.open_target(url)
        begun = journals.read(media_root())
        snapshot = choose(target, _number_of(begun, target, number))
        check_snapshot(snapshot)
        _check_place(snapshot, begun, keep_files=keep_files)
        if begun is None and not keep_files:
            _check_room(snapshot)
        snapshots.check_files(target, snapshot)
    except Unavailable as trouble:
        raise CannotRestore(target.describe(trouble)) from trouble
    except (TargetError, UnknownStore, DamagedSnapshot, NoCopy, UnreadableJournal) as trouble:
        raise CannotRestore(str(trouble)) from trouble
    except OSError as trouble:
        raise CannotRestore(f"MEDIA_ROOT: {media_root()}: {trouble.strerror}.") from trouble
    return Plan(target, snapshot, begun)


def choose(target: Target, number: int | None) -> Snapshot:
    """This snapshot, or the newest verified one. Raises CannotRestore, Unavailable."""
    found = snapshots.find_all(target)
    if number is None:
        if found.newest_verified is None:
            raise CannotRestore(
                f"{target.url} has no verified snapshot.{_others(found)}"
                " viewer restore --snapshot N restores one all the same."
            )
        return found.newest_verified
    for one in found.complete:
        if one.number == number:
            return one
    raise CannotRestore(f"{target.url} has no complete snapshot {number}.{_others(found)}")


def _others(found: snapshots.Found) -> str:
    numbers = ", ".join(str(one.number) for one in found.complete)
    return f" It has: {numbers}." if numbers else " It has none at all."


def _number_of(begun: Journal | None, target: Target, number: int | None) -> int | None:
    if begun is None:
        return number
    if begun.target != target.id or number not in (None, begun.snapshot):
        raise CannotRestore(
            f"A restore of snapshot {begun.snapshot} from {begun.url} was begun here and has not"
            f" ended. Go on with it: viewer restore --from {begun.url}. For another one, empty"
            " database and MEDIA_ROOT first."
        )
    return begun.snapshot


def folder_of(snapshot: Snapshot) -> uuid.UUID:
    """The identity that this host's folder takes over: of the oldest one in the snapshot."""
    return uuid.UUID(snapshot.facts.get("folder") or snapshot.facts["viewer"])


# --- The snapshot --------------------------------------------------------------------------


def check_snapshot(snapshot: Snapshot) -> None:
    """Whether this code and this database can take it. Raises CannotRestore, NoCopy."""
    lacks = {"revision", "version", "tables", "viewer", "bytes"} - snapshot.facts.keys()
    if lacks:
        raise CannotRestore(f"snapshot.json of snapshot {snapshot.number} lacks {min(lacks)}.")
    is_sqlite = db.engine.dialect.name == "sqlite"
    name = databases.SQLITE if is_sqlite else databases.POSTGRES
    if snapshot.facts["database"]["name"] != name:
        has, ours = ("PostgreSQL", "SQLite") if is_sqlite else ("SQLite", "PostgreSQL")
        raise CannotRestore(f"The snapshot is of {has}, and DATABASE_URL names {ours}.")
    if not schema.is_known(snapshot.facts["revision"]):
        raise CannotRestore(
            f"The snapshot was taken by version {snapshot.facts['version']}, and this one does not"
            " know its database. Install that version, or a newer one, and restore with it."
        )
    if not is_sqlite:
        databases.check_tools()
    elif (make_url(settings().database_url).database or "").startswith("file:"):
        raise CannotRestore("DATABASE_URL: a restore needs the plain path of the SQLite file.")


# --- The place -----------------------------------------------------------------------------


def _check_place(snapshot: Snapshot, begun: Journal | None, *, keep_files: bool) -> None:
    """Raises CannotRestore unless both are empty, or this restore's. Raises OSError."""
    if not schema.versions().is_new and not (
        begun and begun.has_begun_database and _knows(begun.store)
    ):
        raise CannotRestore(f"The database is not empty. {IN_USE}")
    folder = holdings.unproven()
    try:
        found = folder.identity()
    except Unavailable as trouble:
        raise CannotRestore(f"MEDIA_ROOT ({folder.address}): {trouble}") from trouble
    if begun is not None:
        if found not in (None, str(begun.store)):
            raise CannotRestore(f"MEDIA_ROOT ({folder.address}) has another viewer's marker.")
    elif not journals.is_only_begun(media_root()):
        is_its_own = found == str(folder_of(snapshot))
        if not (keep_files and is_its_own):
            what = SURVIVED if is_its_own else IN_USE
            raise CannotRestore(f"MEDIA_ROOT ({folder.address}) is not empty. {what}")


def _knows(store: uuid.UUID) -> bool:
    """Whether this folder is registered in the database. It may be of an older schema."""
    with db.engine.connect() as connection:
        stores = sa.inspect(connection).get_table_names()
        if RegisteredStore.__tablename__ not in stores:
            return False
        found = connection.execute(sa.select(RegisteredStore.id).filter_by(id=store)).first()
    return found is not None


def _check_room(snapshot: Snapshot) -> None:
    """Raises CannotRestore where it is plain that the disks are too small."""
    originals, database = int(snapshot.facts["bytes"]), int(snapshot.facts["database"]["size"])
    needs = {media_root(): originals}
    if db.engine.dialect.name == "sqlite":
        folder = Path(make_url(settings().database_url).database or "").parent
        needs[folder] = needs.get(folder, 0) + database
    for place, size in needs.items():
        there = next(path for path in (place, *place.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < size:
            has, wants = size_in_words(free), size_in_words(size)
            raise CannotRestore(f"{place} has room for {has}, and {wants} are to be restored.")
