"""`viewer audit verify` says whether the audit log is whole, in a sentence and by its status."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from tests.support import stored_files
from viewer.commands import viewer
from viewer.extensions import db
from viewer.models import AuditEntry
from viewer.office import audit
from viewer.upkeep.backup import record

pytestmark = [
    pytest.mark.on_sqlite("commands open a database of their own"),
    pytest.mark.on_folder("backs up the folder"),
]


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    for name in ("data", "photos"):
        (tmp_path / name).mkdir()
    return settings | {
        "DATA_DIR": tmp_path / "data",
        "MEDIA_ROOT": tmp_path / "photos",
        "BACKUP_TARGETS": f"folder:{tmp_path / 'backup'}",
    }


@pytest.fixture
def verify(app, settings, tmp_path, monkeypatch):
    stored_files.keep()
    for number in range(3):
        audit.note("caption", f"wall {number}")
        db.session.commit()
    record.back_up(settings["BACKUP_TARGETS"], same_filesystem=True)
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def run(*words: str) -> tuple[int, str]:
        db.session.rollback()
        done = CliRunner().invoke(viewer, ["audit", "verify", *words])
        return done.exit_code, done.stdout

    return run


def test_a_whole_log_exits_with_0(verify):
    assert verify() == (
        0, "The audit log is whole: 3 entries verified, compared with 1 snapshot.\n",
    )  # fmt: skip


def test_an_altered_one_exits_with_1_and_the_page_and_the_monitor_say_so(verify, client):
    db.session.execute(
        sa.update(AuditEntry).where(AuditEntry.place == 2).values(words="another wall")
    )
    db.session.commit()

    code, said = verify()

    assert code == 1
    assert said.startswith("The audit log was altered. The words of entry 2 (caption, ")
    assert "The words of entry 2" in client.get("/trail").text
    broken = {one["name"] for one in client.get("/healthz").json["broken"]}
    assert "audit_log_altered" in broken


def test_the_page_says_up_to_where_it_was_verified(verify, client):
    verify()

    assert "Chain verified up to entry 4 on" in " ".join(client.get("/trail").text.split())


def test_a_head_that_was_kept_elsewhere_is_compared(verify, tmp_path):
    kept = next((tmp_path / "backup").glob("snapshots/*/snapshot.json"))
    whole = verify("--against", str(kept))
    other = tmp_path / "other.json"
    other.write_text('{"audit": {"place": 2, "chain": "0"}}')

    assert whole[0] == 0
    assert verify("--against", str(other))[0] == 1
