"""PostgreSQL is dumped by its own programs, which may be missing, old, slow, cut short or stuck."""

import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.crash import disks
from tests.support.servers import wait_until
from tests.upkeep.backup.conftest import At, checked_by_sha256sum, hash_of, newest
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep.backup import dump

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def programs(postgres, monkeypatch, tmp_path) -> Path:
    """A folder in front of PostgreSQL's programs, for others of their names."""
    front = tmp_path / "bin"
    front.mkdir()
    monkeypatch.setenv("PATH", f"{front}:{postgres.bin}:{os.environ['PATH']}")
    return front


def instead(programs: Path, postgres, name: str, script: str) -> None:
    """Another program under this name; `$REAL` is the right one. It tells the right version."""
    program = programs / name
    program.write_text(
        f'#!/bin/sh\nREAL={postgres.bin / name}\n[ "$1" = --version ] && exec $REAL --version\n'
        f"{script}\n"
    )
    program.chmod(0o755)


def children() -> list[str]:
    """Programs of ours that still run; the servers of the tests are no dumps."""
    found = psutil.Process().children(recursive=True)
    return [one.name() for one in found if one.name() in ("pg_dump", "pg_restore", "sleep", "head")]


def connections(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
        ).fetchone()
    assert found is not None
    return int(found[0])


def test_the_dump_and_the_list_agree_and_it_comes_back(keep, back_up, place, postgres):
    kept = [keep(f"photo {number}".encode()) for number in range(3)]

    result = back_up(progress=At("copying", lambda: keep(b"meanwhile")))

    assert (result.is_good, result.counts["files"]) == (True, 3)
    checked_by_sha256sum(place)
    name = postgres.create("template0")
    subprocess.run(
        ["pg_restore", "--exit-on-error", "--single-transaction", "--no-owner",
         "--dbname", postgres.url(name), newest(place) / "database.dump"],
        check=True,
    )  # fmt: skip
    with psycopg.connect(postgres.url(name)) as restored:
        rows = restored.execute("SELECT file_path, sha256 FROM media_attachments").fetchall()
    postgres.drop(name)
    assert sorted(rows) == sorted((one.file_path, one.sha256) for one in kept)
    assert all(hash_of(place / "media" / key) == sha256 for key, sha256 in rows)


def test_the_dump_and_the_list_agree_row_by_row_under_writes(
    app, keep, back_up, place, postgres, programs
):
    """A slow pg_dump, and a writer who does not wait."""
    keep(b"before")
    instead(programs, postgres, "pg_dump", 'sleep 1\nexec $REAL "$@"')
    over = threading.Event()

    def write() -> None:
        with app.app_context():
            while not over.wait(0.05):
                keep(os.urandom(20))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = back_up()
    finally:
        over.set()
        writer.join()

    assert result.is_good
    listed = (newest(place) / "SHA256SUMS").read_text().count("  media/")
    name = postgres.create("template0")
    subprocess.run(
        ["pg_restore", "--no-owner", "--dbname", postgres.url(name),
         newest(place) / "database.dump"], check=True,
    )  # fmt: skip
    with psycopg.connect(postgres.url(name)) as restored:
        [rows] = restored.execute("SELECT count(*) FROM media_attachments").fetchone() or [0]
    postgres.drop(name)
    assert rows == listed == result.counts["files"]
    assert db.session.query(MediaAttachment).count() > rows


def test_k37_a_target_that_dies_while_pg_dump_runs_leaves_no_process_and_no_connection(
    keep, back_up, postgres, programs, database_url, stack
):
    disks.needs_mounts()
    disk = disks.Disk(stack, "24M")
    keep()
    instead(
        programs, postgres, "pg_dump",
        '$REAL "$@"; while head -c 50000 /dev/zero; do sleep 0.05; done',
    )  # fmt: skip

    def take_away() -> None:
        wait_until(lambda: list(disk.path.glob("backup/.incoming/*/database.dump")) != [])
        disk.die()

    thread = threading.Thread(target=take_away)
    thread.start()
    result = back_up(disk.path / "backup", same_filesystem=False)
    thread.join()
    disk.come_back()

    assert result.has_failed
    assert "Input/output error" in result.words
    assert children() == []
    wait_until(lambda: connections(database_url) == 0)
    assert list(disk.path.glob("backup/snapshots/*/snapshot.json")) == []


def test_k37_a_full_target_ends_pg_dump(app, postgres, programs, database_url):
    """It has no room for the next block: pg_dump must not wait for anybody to read on."""
    instead(programs, postgres, "pg_dump", '$REAL "$@"; while echo more; do sleep 0.01; done')
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        def write(self, _block: bytes) -> int:
            raise full

    with pytest.raises(OSError, match="No space left"):
        dump._pump(["pg_dump", f"--dbname={database_url}"], Full())  # type: ignore[arg-type]
    assert children() == []
    wait_until(lambda: connections(database_url) == 0)


def test_k38_a_dump_that_hangs_is_ended_and_the_next_run_takes_place(
    keep, back_up, found, postgres, programs, monkeypatch, database_url
):
    keep()
    instead(programs, postgres, "pg_dump", "sleep 300 & sleep 300")
    monkeypatch.setattr(dump, "DEADLINE", 1.0)

    result = back_up()

    assert result.has_failed
    assert result.words == (
        "The database could not be copied: pg_dump failed: it was ended after 1 s."
    )
    assert children() == []
    monkeypatch.setattr(dump, "DEADLINE", 60.0)
    (programs / "pg_dump").unlink()
    assert back_up().is_good


@pytest.mark.parametrize("name", ["pg_dump", "pg_restore"])
def test_k39_a_program_that_is_absent_is_said_before_anything_is_written(
    name, keep, back_up, place, monkeypatch, postgres, programs
):
    keep()
    other = {"pg_dump": "pg_restore", "pg_restore": "pg_dump"}[name]
    (programs / other).symlink_to(postgres.bin / other)
    for needed in ("sh",):
        (programs / needed).symlink_to(shutil.which(needed) or "")
    monkeypatch.setenv("PATH", str(programs))

    result = back_up()

    assert result.has_failed
    assert result.words.startswith(f"{name} is not installed")
    assert not (place / "snapshots").exists()


def test_k39_one_that_is_older_than_the_server_is_said_too(keep, back_up, place, programs):
    keep()
    (programs / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.4'\n")
    (programs / "pg_dump").chmod(0o755)

    result = back_up()

    assert result.has_failed
    assert "is of version 13, and the server of" in result.words
    assert not (place / "snapshots").exists()


def test_k68_a_truncated_dump_makes_no_snapshot(keep, back_up, found, postgres, programs):
    """It exits with 0, and `pg_restore --list` would be content with it."""
    keep()
    instead(programs, postgres, "pg_dump", '$REAL "$@" | cat > "$0.whole"\n'
            'head -c $(($(wc -c < "$0.whole") * 9 / 10)) "$0.whole"')  # fmt: skip

    result = back_up()

    assert result.has_failed
    assert "the dump cannot be read" in result.words
    assert found().complete == []


def test_the_password_is_on_no_command_line(keep, back_up, postgres, programs, app):
    keep()
    instead(programs, postgres, "pg_dump", 'echo "$@" > "$0.words"\nexec $REAL "$@"')
    back_up()

    words = (programs / "pg_dump.words").read_text()
    assert "passfile=" in words
    assert "password=" not in words
