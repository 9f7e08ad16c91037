"""A viewer with a backup, and a machine on which there is nothing yet."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.upkeep.backup.conftest import back_up as back_up
from tests.upkeep.backup.conftest import hash_of, newest, overwrite
from tests.upkeep.backup.conftest import keep as keep
from tests.upkeep.backup.conftest import place as place
from tests.upkeep.backup.conftest import settings as settings
from viewer import create_app
from viewer.extensions import db, sqlite_driver
from viewer.models import MediaAttachment
from viewer.upkeep import identity
from viewer.upkeep.restore import checks, run
from viewer.upkeep.restore.run import Result


@dataclass(frozen=True)
class Machine:
    """A host with settings of its own; nothing has run on it."""

    settings: dict[str, Any]
    source: Path
    said: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return Path(self.settings["MEDIA_ROOT"])

    @contextmanager
    def opened(self, *, checked: bool = True) -> Iterator[Flask]:
        """As any command opens it: database and folder belong together."""
        app = create_app(self.settings)
        with app.app_context():
            try:
                if checked:
                    identity.ensure()
                yield app
            finally:
                db.session.remove()
                db.engine.dispose()

    def restore(
        self, number: int | None = None, *, keep_files: bool = False, **words: Any
    ) -> Result:
        """What the command does."""
        with self.opened(checked=False):
            plan = checks.make_plan(f"folder:{self.source}", number, keep_files=keep_files)
            self.said[:] = plan.notes
            return run.restore(plan, lambda more: create_app(self.settings | more), **words)

    def rows(self) -> list[MediaAttachment]:
        with self.opened():
            return list(db.session.query(MediaAttachment).order_by(MediaAttachment.file_path))

    def wrong(self) -> list[str]:
        """Keys of rows whose file is not there with the bytes that came: read without our code."""
        return [
            one.file_path for one in self.rows() if hash_of(self.root / one.file_path) != one.sha256
        ]


@pytest.fixture
def programs(
    database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's programs of the server's version, where it is PostgreSQL."""
    if database == "postgresql":
        server = request.getfixturevalue("postgres")
        monkeypatch.setenv("PATH", f"{server.bin}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def machine(
    settings: dict[str, Any], place: Path, tmp_path: Path, database: str, programs: None,
    request: pytest.FixtureRequest,
) -> Iterator[Machine]:  # fmt: skip
    """Empty folders, an empty database, the secrets, and the target."""
    home = tmp_path / "new"
    overrides: dict[str, Any] = {"DATA_DIR": home / "data", "MEDIA_ROOT": home / "photos"}
    if database == "sqlite":
        yield Machine(
            settings | overrides | {"DATABASE_URL": f"sqlite:///{home}/data/viewer.db"}, place
        )
        return
    server = request.getfixturevalue("postgres")
    name = server.create("template0")
    yield Machine(settings | overrides | {"DATABASE_URL": server.url(name)}, place)
    server.drop(name)


def tree(*folders: Path) -> dict[str, bytes]:
    """Every file in these folders, byte by byte."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def alter_facts(place: Path, **facts: Any) -> None:
    """Another snapshot.json in the newest snapshot, as verified as the one before."""
    folder = newest(place)
    said = json.loads((folder / "snapshot.json").read_text()) | facts
    raw = json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"
    overwrite(folder / "snapshot.json", raw)
    verified = json.loads((folder / "verified.json").read_text())
    verified["snapshot_sha256"] = hashlib.sha256(raw).hexdigest()
    overwrite(folder / "verified.json", json.dumps(verified).encode())


def describe_database(path: Path, **facts: Any) -> None:
    """Let the snapshot say what this copy is now."""
    raw = path.read_bytes()
    database = {"name": path.name, "size": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    alter_facts(path.parent.parent.parent, database=database, **facts)


def copy_database_into(folder: Path) -> None:
    """The database as it is now, in the place of the snapshot's."""
    path = folder / "database.sqlite3"
    path.unlink()
    driver = db.engine.raw_connection()
    copy = sqlite_driver.connect(path)
    driver.driver_connection.backup(copy)
    copy.execute("PRAGMA journal_mode = DELETE")
    tables = json.loads((folder / "snapshot.json").read_text())["tables"]
    for name in tables:
        tables[name] = copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
    copy.close()
    driver.close()
    describe_database(path, tables=tables)
