"""Put the snapshot's database in its place: out of sight first, and published at the end.

SQLite: a file beside the database, renamed over it. PostgreSQL: loaded in one transaction; the note
in the media folder keeps every viewer from starting until it is published.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import make_url

from viewer import holdings
from viewer.config import settings
from viewer.extensions import db, sqlite_driver
from viewer.failpoint import failpoint
from viewer.office import audit_chain
from viewer.office.audit_chain import Head
from viewer.plurals import counted
from viewer.storage import Missing, Unavailable, fsync_file, fsync_folder
from viewer.upkeep import schema
from viewer.upkeep.backup import dump
from viewer.upkeep.backup.database import problem_in
from viewer.upkeep.backup.dump import NoCopy
from viewer.upkeep.backup.snapshots import Snapshot
from viewer.upkeep.backup.targets.target import LostTarget, Target
from viewer.upkeep.restore.checks import CannotRestore

NewApp = Callable[[dict[str, Any]], Flask]

_CHUNK = 1024 * 1024  # bytes
_BESIDE = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def staged(new_app: NewApp, target: Target, snapshot: Snapshot) -> Iterator[list[str]]:
    """Inside, `db` is the snapshot's database, with the newest schema; nobody else sees it.

    Yields what is not as snapshot.json says. Raises CannotRestore, LostTarget.
    """
    if db.engine.dialect.name != "sqlite":
        problems = []
        if schema.versions().is_new:
            _load(target, snapshot)
            problems = compare_counts(snapshot)
        _migrate()
        yield problems + verify_audit_log(snapshot)
        return
    path = _staged_path()
    _remove(path)
    fetch(target, snapshot, path)
    failpoint("restore.copied")
    check_file(path)
    with new_app({"DATABASE_URL": f"sqlite:///{path}"}).app_context():
        try:
            problems = compare_counts(snapshot)
            _migrate()
            yield problems + verify_audit_log(snapshot)
        finally:
            db.session.remove()
            db.engine.dispose()


def publish() -> None:
    """Rename the staged file, if there is one, over the empty database. Raises CannotRestore."""
    if db.engine.dialect.name != "sqlite":
        return
    path, final = _staged_path(), _final_path()
    try:
        _write_back(path)
        fsync_file(path)
        db.session.remove()
        if not schema.versions().is_new:
            raise CannotRestore("The database is not empty any more: somebody else writes to it.")
        db.engine.dispose()
        for ending in _BESIDE:  # of the empty database: SQLite would apply them to ours
            Path(f"{final}{ending}").unlink(missing_ok=True)
        failpoint("restore.publishing")
        path.replace(final)
        fsync_folder(final.parent)
    except OSError as trouble:
        raise CannotRestore(f"DATABASE_URL: {final}: {trouble.strerror}.") from trouble


def fetch(target: Target, snapshot: Snapshot, path: Path) -> None:
    """Copy the database of the snapshot to this path, durably. Raises CannotRestore, LostTarget."""
    digest = hashlib.sha256()
    try:
        with path.open("xb") as out:
            path.chmod(0o600)  # customers' messages
            with target.store.open(snapshot.database) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
        fsync_file(path)
    except Missing as trouble:
        raise CannotRestore(f"{snapshot.database} is gone.") from trouble
    except Unavailable as trouble:
        raise LostTarget(target.describe(trouble)) from trouble
    except OSError as trouble:
        raise CannotRestore(f"The database could not be written: {trouble.strerror}.") from trouble
    if digest.hexdigest() != snapshot.facts["database"]["sha256"]:
        raise CannotRestore(f"{snapshot.database} is not what it was.")


def check_file(path: Path) -> None:
    """Raises CannotRestore unless SQLite finds the file whole."""
    try:
        with contextlib.closing(sqlite_driver.connect(path)) as copy:
            problem = problem_in(copy)
    except sqlite_driver.Error as error:
        raise CannotRestore(f"The snapshot's database cannot be read: {error}.") from error
    if problem:
        raise CannotRestore(f"The snapshot's database is damaged: {problem}.")


def compare_counts(snapshot: Snapshot) -> list[str]:
    """A sentence for each table that has not as many rows as the snapshot had."""
    problems = []
    with db.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        for name, expected in snapshot.facts["tables"].items():
            query = sa.select(sa.func.count()).select_from(sa.table(name))
            found = connection.scalar(query) or 0 if name in names else 0
            if found != expected:
                problems.append(f"{name} has {counted(found, 'row')}, not {expected:,}.")
    return problems


def verify_audit_log(snapshot: Snapshot) -> list[str]:
    """A sentence if its chain is broken, or ends elsewhere than snapshot.json says."""
    head = Head.of(snapshot.facts, f"snapshot {snapshot.number}")
    verdict = audit_chain.verify(heads=[head] if head else [])
    return [str(verdict)] if verdict.problems else []


def load_dump(path: Path) -> None:
    """Load a dump into the empty database, whole or not at all. Raises CannotRestore."""
    with db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        try:
            dump.load(driver, path)
        except NoCopy as trouble:
            raise CannotRestore(str(trouble)) from trouble


def _load(target: Target, snapshot: Snapshot) -> None:
    try:
        folder = holdings.spool().decoder_folder()
        folder.chmod(0o700)
    except Unavailable as trouble:
        raise CannotRestore(f"MEDIA_ROOT: {trouble}") from trouble
    try:
        fetch(target, snapshot, folder / "database.dump")
        failpoint("restore.copied")
        load_dump(folder / "database.dump")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    failpoint("restore.loaded")


def _migrate() -> None:
    if not schema.versions().are_equal:
        flask_migrate.upgrade()
    failpoint("restore.migrated")


def _write_back(path: Path) -> None:
    """Bring what is in the write-ahead log into the file, which alone is renamed."""
    with contextlib.closing(sqlite_driver.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    left = [Path(f"{path}{ending}") for ending in _BESIDE]
    if any(one.exists() and one.stat().st_size for one in left):
        raise CannotRestore(f"{path} is in use by another program.")


def _final_path() -> Path:
    return Path(make_url(settings().database_url).database or "")


def _staged_path() -> Path:
    return Path(f"{_final_path()}.restoring")


def _remove(path: Path) -> None:
    for ending in ("", *_BESIDE):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{ending}").unlink()
