"""Where Litestream copies the database, a drill proves that copy as well."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.servers import wait_until
from viewer.extensions import db, now, sqlite_driver
from viewer.models import WebhookEvent

pytestmark = pytest.mark.proof


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A replica in a folder; `litestream` is the one of the tests' own Python."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    path = tmp_path / "litestream.yml"
    path.write_text(
        f"dbs:\n  - path: {tmp_path / 'data' / 'viewer.db'}\n    replicas:\n"
        f"      - type: file\n        path: {tmp_path / 'replica'}\n        sync-interval: 100ms\n"
    )
    return path


@pytest.fixture
def settings(
    settings: dict[str, Any], config: Path, tmp_path: Path, migrated: Any
) -> dict[str, Any]:
    database = tmp_path / "data" / "viewer.db"
    database.write_bytes(Path(migrated("sqlite")).read_bytes())
    return settings | {"LITESTREAM_CONFIG": config, "DATABASE_URL": f"sqlite:///{database}"}


@pytest.fixture
def replicated(app: Flask, config: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Litestream at work."""
    process = subprocess.Popen(
        ["litestream", "replicate", "-config", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield process
    process.kill()
    process.wait()


def deliver(at: datetime) -> None:
    WebhookEvent.record("msg_1", "standard", b"{}")
    db.session.execute(sa.update(WebhookEvent).values(received_at=at))
    db.session.commit()


@pytest.fixture
def copied(config: Path, tmp_path: Path) -> Callable[[], bool]:
    """Whether Litestream's copy is complete, and has every delivery of ours."""

    def restored() -> bool:
        copy = tmp_path / "copied.db"
        copy.unlink(missing_ok=True)
        database = tmp_path / "data" / "viewer.db"
        command = ["litestream", "restore", "-config", str(config), "-o", str(copy), str(database)]
        if subprocess.run(command, capture_output=True).returncode:
            return False
        with contextlib.closing(sqlite_driver.connect(copy)) as connection:
            found = connection.execute("SELECT count(*) FROM webhook_events").fetchone()
        return bool(found[0] == db.session.scalar(sa.select(sa.func.count(WebhookEvent.id))))

    return restored


def test_its_copy_is_restored_too(keep, back_up, drill, replicated, copied):
    keep()
    deliver(now() - timedelta(hours=1))
    wait_until(copied)
    back_up()

    result = drill()

    assert result.is_good, result.words
    assert result.words.endswith("What Litestream keeps was restored, too, and is whole.")


def test_one_that_stopped_copying_is_red(keep, back_up, drill, replicated, copied):
    keep()
    wait_until(copied)
    replicated.kill()
    replicated.wait()
    deliver(now() - timedelta(hours=1))
    back_up()

    result = drill()

    assert (result.is_good, "Litestream is more than 5 minutes behind" in result.words) == (
        False, True,
    )  # fmt: skip


def test_one_that_never_copied_anything_is_red(keep, back_up, drill):
    keep()
    back_up()

    assert "What Litestream keeps cannot be restored" in drill().words
