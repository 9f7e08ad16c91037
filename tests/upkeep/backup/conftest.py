"""A viewer with stored originals, a target beside it, and what anybody can read from the target."""

import hashlib
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support import stored_files
from viewer.models import MediaAttachment
from viewer.upkeep.backup import record, snapshots
from viewer.upkeep.backup.result import Result
from viewer.upkeep.backup.snapshots import Found
from viewer.upkeep.backup.targets import target as targets


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """With folders of its own: the target must lie in none of them."""
    for name in ("data", "photos"):
        (tmp_path / name).mkdir()
    return settings | {"DATA_DIR": tmp_path / "data", "MEDIA_ROOT": tmp_path / "photos"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the backup goes. Nothing is there yet."""
    return tmp_path / "backup"


@pytest.fixture
def back_up(app: Flask, place: Path) -> Callable[..., Result]:
    """Back up to `place`: tests have one file system only."""
    return lambda to=place, **words: record.back_up(
        f"folder:{to}", **{"same_filesystem": True, **words}
    )


@pytest.fixture
def keep(app: Flask) -> Callable[..., MediaAttachment]:
    """A stored original of these bytes."""
    return lambda content=b"a crack in the wall", **values: stored_files.keep(content, **values)


@pytest.fixture
def found(app: Flask, place: Path) -> Callable[[], Found]:
    """The snapshots in `place`."""
    return lambda: snapshots.find_all(targets.open_target(str(place)))


def checked_by_sha256sum(place: Path) -> None:
    """What anybody can do without us, for every snapshot."""
    lists = sorted(place.glob("snapshots/*/SHA256SUMS"))
    assert lists
    for one in lists:
        subprocess.run(
            ["sha256sum", "--check", "--quiet", "--strict", one.relative_to(place)],
            cwd=place, check=True, capture_output=True,
        )  # fmt: skip


def losses(place: Path, folder: Path) -> list[str]:
    """Rows of this snapshot's database whose original is not in the pool: read without our code."""
    database = sqlite3.connect(f"file:{folder / 'database.sqlite3'}?mode=ro&immutable=1", uri=True)
    query = (
        "SELECT file_path, sha256 FROM media_attachments"
        " WHERE downloaded_at IS NOT NULL AND purged_at IS NULL"
    )
    rows = database.execute(query).fetchall()
    database.close()
    return [key for key, sha256 in rows if hash_of(place / "media" / key) != sha256]


def hash_of(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def newest(place: Path) -> Path:
    """The newest complete snapshot's folder."""
    return max(path.parent for path in place.glob("snapshots/*/snapshot.json"))


def overwrite(path: Path, content: bytes) -> None:
    """Other bytes in the place of a file, as a failing disk or an attacker leaves them."""
    path.chmod(0o644)
    path.write_bytes(content)


class At:
    """Something that happens while a backup is at this stage, once."""

    def __init__(self, stage: str, event: Callable[[], Any]) -> None:
        self._events = {stage: event}

    def begin(self, stage: str, length: int) -> None:
        self._events.pop(stage, lambda: None)()

    def advance(self, count: int) -> None:
        """Of no interest."""
