"""A drill restores a backup for real and opens photos in it; whatever is not right makes it red."""

import os
import socket
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from tests.conftest import BOTH
from tests.support import stored_files
from tests.support.children import in_child
from tests.support.pictures import noise
from tests.support.servers import wait_until
from tests.upkeep.backup.conftest import newest, overwrite
from tests.upkeep.restore.conftest import alter_facts, copy_database_into
from viewer import create_app, failpoint, holdings, schedule
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore, ScheduledTask, UpkeepRun, User
from viewer.upkeep import runs
from viewer.upkeep.backup import retention
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.drill import scheduled, scratch, visit
from viewer.upkeep.drill.sample import NEWEST, Sample, moment_of
from viewer.upkeep.drill.scratch import Busy

State = MediaAttachment.State


def fixtures(request: pytest.FixtureRequest) -> list[Any]:
    """Those that make the application, after its settings were changed."""
    return [request.getfixturevalue(name) for name in ("keep", "back_up", "drill")]


def latest() -> UpkeepRun:
    found = runs.latest(runs.Kind.DRILL)
    db.session.commit()
    assert found is not None
    return found


@pytest.mark.proof
@BOTH
def test_a_right_backup_is_proven_and_nothing_is_left(keep, back_up, drill, place, tmp_path):
    for number in range(4):
        keep(noise(60, 50, number))
    keep(b"put away", state=State.TRASHED)
    assert back_up().is_good

    result = drill()

    assert result.words.startswith(
        "Snapshot 1 restored: 5 originals in the backup, 5 of them opened and right"
    )
    assert (result.is_good, result.snapshot) == (True, 1)
    assert result.counts.items() >= {"files": 5, "sampled": 5, "fetched": 4}.items()
    assert not (tmp_path / "data" / "drill").exists()
    run = latest()
    assert (run.subject, run.outcome, run.snapshot) == (f"folder:{place}", "good", 1)
    assert retention.proven(targets.open_target(str(place))) == {1}
    assert db.session.query(User).count() == 0  # the visitor was one of the scratch database
    db.session.commit()
    if db.engine.dialect.name == "postgresql":
        assert scratch_databases(db.engine.url) == []


def scratch_databases(url) -> list[str]:
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        found = connection.execute("SELECT datname FROM pg_database").fetchall()
    return [name for (name,) in found if name.startswith("viewer_drill_")]


@pytest.mark.proof
def test_a_full_drill_opens_every_original(settings, request):
    settings["DRILL_SAMPLE"] = 1
    keep, back_up, drill = fixtures(request)
    for number in range(55):
        keep(f"photo {number}".encode())
    back_up()

    assert drill(full=True).counts["fetched"] == 55
    assert drill().counts["fetched"] in (50, 51)  # the newest, and one that may be among them


# --- Red --------------------------------------------------------------------------------------


def test_k62_a_wrong_byte_in_the_sample_is_red(keep, back_up, drill, place):
    kept = [keep(noise(60, 50, number)) for number in range(3)]
    back_up()
    content = bytearray((place / "media" / kept[1].file_path).read_bytes())
    content[50] ^= 1
    overwrite(place / "media" / kept[1].file_path, bytes(content))

    result = drill()

    assert not result.is_good
    assert "viewer restore ended with 1" in result.words
    assert f"wrong in the backup: {kept[1].file_path}" in result.words
    assert (latest().outcome, latest().snapshot) == ("bad", 1)
    assert retention.proven(targets.open_target(str(place))) == set()


@pytest.mark.proof
def test_a_file_that_is_not_in_the_pool_is_red_whether_it_is_in_the_sample_or_not(
    settings, request, place
):
    settings["DRILL_SAMPLE"] = 1
    keep, back_up, drill = fixtures(request)
    kept = [keep(f"photo {number}".encode()) for number in range(60)]
    back_up()
    oldest = min(kept, key=lambda one: one.file_path)
    (place / "media" / oldest.file_path).unlink()

    result = drill()

    assert not result.is_good
    assert oldest.file_path in result.words


@pytest.mark.proof
def test_a_database_with_fewer_rows_than_the_snapshot_had_is_red(keep, back_up, drill, place):
    keep()
    back_up()
    alter_facts(place, tables={"messages": 7})

    assert "messages has 1 row, not 7." in drill().words


def test_a_snapshot_whose_database_is_truncated_is_red(keep, back_up, drill, place):
    keep()
    back_up()
    overwrite(newest(place) / "database.sqlite3", b"half")

    assert not drill().is_good


@pytest.mark.parametrize("trouble", ["gone", "another's", "unverified"])
def test_a_target_that_proves_nothing_is_red(trouble, keep, back_up, drill, place):
    keep()
    back_up()
    if trouble == "gone":
        place.rename(place.with_name("unplugged"))
    elif trouble == "another's":
        marker = (place / ".viewer-backup").read_text()
        (place / ".viewer-backup").write_text(marker[:-1] + ("0" if marker[-1] != "0" else "1"))
    else:
        (newest(place) / "verified.json").unlink()

    result = drill()

    words = {
        "gone": "is no backup",
        "another's": "the backups of another viewer",
        "unverified": "no verified snapshot",
    }
    assert (result.is_good, latest().outcome) == (False, "bad")
    assert words[trouble] in result.words


def test_no_room_is_red(keep, back_up, drill, place):
    keep()
    back_up()
    alter_facts(place, bytes=10**18)

    assert "a drill needs 1,000,000,000.0 GB" in drill(full=True).words


@pytest.mark.proof
def test_a_web_server_that_does_not_answer_is_red_and_ends(
    keep, back_up, drill, monkeypatch, tmp_path
):
    keep()
    back_up()
    monkeypatch.setattr(visit, "PATIENCE", 0.0)

    assert "did not answer on port" in drill().words
    assert children(tmp_path) == []


@pytest.mark.proof
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_without_the_right_to_make_a_database_it_is_red(
    keep, back_up, drill, database_url, settings
):
    keep()
    assert back_up().is_good
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE modest LOGIN")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO modest")
    try:
        url = database_url.replace("viewer@", "modest@")
        with create_app(settings | {"DATABASE_URL": url}).app_context():
            result = drill()
            db.engine.dispose()
    finally:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP OWNED BY modest")
            connection.execute("DROP ROLE modest")

    assert "its user needs CREATEDB" in result.words


@pytest.mark.proof
def test_a_port_that_somebody_else_took_is_given_up_for_another(
    keep, back_up, drill, provider, monkeypatch
):
    keep()
    back_up()
    free, taken = visit._free_port, [urlsplit(provider.serve(b"")).port]
    monkeypatch.setattr(visit, "_free_port", lambda: taken.pop() if taken else free())

    result = drill()

    assert (result.is_good, taken) == (True, [])


# --- Killed -----------------------------------------------------------------------------------


def children(home: Path) -> list[str]:
    """Commands of a drill below this folder that still run."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if "viewer" in words and str(process.info["cwd"]).startswith(f"{home}/"):
            found.append(" ".join(words))
    return found


@pytest.mark.proof
@pytest.mark.parametrize(
    ("step", "database"),
    [
        *((step, "sqlite") for step in ("drill.begun", "drill.restored", "drill.fetched")),
        ("drill.served", "postgresql"),  # the step that leaves most: server, folder and database
    ],
    indirect=["database"],
)
def test_k61_what_a_killed_drill_left_is_gone_with_the_next_one(
    step, keep, back_up, drill, tmp_path, monkeypatch
):
    keep(noise(60, 50, 1))
    assert back_up().is_good
    monkeypatch.setenv(failpoint.VARIABLE, f"{step}=kill")
    in_child(drill, expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)
    left = tmp_path / "data" / "drill"
    assert left.exists()
    wait_until(lambda: children(tmp_path) == [])  # they ended with it

    assert drill().is_good
    assert not left.exists()
    if db.engine.dialect.name == "postgresql":
        assert scratch_databases(db.engine.url) == []


def test_one_at_a_time(keep, back_up, drill, tmp_path):
    keep()
    back_up()

    with scratch._locked(tmp_path / "data" / "drill.lock"), pytest.raises(Busy):
        drill()
    assert runs.latest(runs.Kind.DRILL) is None


# --- Apart from production --------------------------------------------------------------------


class Spy:
    """A server on loopback that only counts who connects."""

    def __init__(self) -> None:
        self.visits = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            try:
                self._server.accept()[0].close()
            except OSError:
                return
            self.visits += 1

    def close(self) -> None:
        self._server.close()


SPYING = """
import os, sys
def note(event, words):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{words[1:] if event == 'socket.connect' else words}}\\n")
with open({log!r}, "a") as file:
    file.write(f"started {{sys.argv}}\\n")
sys.addaudithook(note)
"""


@pytest.mark.proof
def test_k60_it_talks_to_nothing_of_production(settings, request, tmp_path, monkeypatch, stack):
    """Everything that production knows is a spy: in the settings, the environment and `.env`."""
    provider, queue, store = Spy(), Spy(), Spy()
    for spy in (provider, queue, store):
        stack.callback(spy.close)
    known = {
        "QUO_API_KEY": "test-key-1",
        "QUO_API_URL": f"http://127.0.0.1:{provider.port}",
        "REDIS_URL": f"redis://127.0.0.1:{queue.port}/0",
        "S3_ACCESS_KEY_ID": "viewer",
        "S3_SECRET_ACCESS_KEY": "a word that nobody knows",
    }
    settings |= known
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in known.items()))
    monkeypatch.setenv("VIEWER_HOME", str(home))
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    spying, log = tmp_path / "spying", tmp_path / "connections"
    spying.mkdir()
    (spying / "sitecustomize.py").write_text(SPYING.format(log=str(log)))
    monkeypatch.setenv("PYTHONPATH", f"{spying}{os.pathsep}{Path(__file__).parents[3]}")
    keep, back_up, drill = fixtures(request)
    moved, stays = keep(noise(60, 50, 1)), keep(noise(60, 50, 2))
    back_up()
    bucket = RegisteredStore(
        kind=RegisteredStore.Kind.S3,
        address=f"s3://photos?endpoint=http://127.0.0.1:{store.port}&region=us-east-1",
    )
    db.session.add(bucket)
    db.session.flush()
    moved.storage = bucket.id
    db.session.commit()
    copy_database_into(newest(tmp_path / "backup"))
    before = [spy.visits for spy in (provider, queue, store)]

    result = drill()

    assert result.is_good, result.words
    assert result.counts["fetched"] == len([moved, stays])
    assert [spy.visits for spy in (provider, queue, store)] == before
    said = log.read_text().splitlines()
    assert len([line for line in said if line.startswith("started")]) >= 3  # the spy was there
    assert [line for line in said if not line.startswith("started")] == []
    socket.create_connection(("127.0.0.1", store.port)).close()
    wait_until(lambda: store.visits == before[2] + 1)  # and it counts


# --- The sample, and the clock ----------------------------------------------------------------


def test_what_came_since_the_last_drill_is_in_the_sample_and_the_newest_are(
    app, keep, back_up, place, found, tmp_path
):
    kept = [keep(f"photo {number}".encode()) for number in range(60)]
    back_up()
    new = []
    for number in range(3):  # of long ago, so not among the newest
        content, name = f"new {number}".encode(), f"2020/01/0{number + 1}/617-555-0123/{number}"
        stored_files.place(content, f"{name}.bin", holdings.spool(), holdings.own())
        new.append(keep(content, file_path=f"{name}.bin", file_stem=name).file_path)
    back_up()
    first, second = found().complete

    with closing(Sample()) as sample:
        sample.choose(targets.open_target(str(place)), second, first, 1)
        chosen = set(sample.keys())
        hashes = {key: sample.hash_of(key) for key in chosen}

    newest_first = sorted((one.file_path for one in kept), key=moment_of, reverse=True)
    assert chosen >= {*newest_first[:NEWEST], *new}
    assert len(chosen) <= NEWEST + len(new) + 1
    assert (
        hashes.items()
        >= {one.file_path: one.sha256 for one in kept if one.file_path in chosen}.items()
    )
    assert moment_of("2025/01/15/617-555-0199/messages/17_a.jpg") < moment_of(
        "2025/01/16/617-555-0100/messages/16_a.jpg"
    )


def test_a_drill_is_due_once_a_week_and_a_day_after_a_red_one(app, place, time_machine_at):
    url = f"folder:{place}"
    assert not scheduled.is_due(url)  # there is no backup yet
    runs.finish(runs.begin(runs.Kind.BACKUP, url), runs.Outcome.GOOD, "")
    assert scheduled.is_due(url)
    runs.finish(runs.begin(runs.Kind.DRILL, url), runs.Outcome.GOOD, "")
    moment = now()

    due = []
    for outcome in (runs.Outcome.GOOD, runs.Outcome.BAD):
        for hours in (23, 25, 6 * 24, 7 * 24 + 1):
            with time_machine_at(moment + timedelta(hours=hours)):
                due.append(scheduled.is_due(url))
        if outcome is runs.Outcome.GOOD:
            with time_machine_at(moment + timedelta(seconds=1)):
                runs.finish(runs.begin(runs.Kind.DRILL, url), runs.Outcome.BAD, "")

    assert due == [False, False, False, True, False, True, True, True]


@pytest.mark.proof
def test_the_scheduler_drills_each_target_of_the_settings(settings, request, place):
    settings["BACKUP_TARGETS"] = str(place)
    keep, back_up, _ = fixtures(request)
    keep(noise(60, 50, 1))
    back_up()
    [task] = schedule.drill_definitions()

    assert schedule.do_if_due(task, "this host")

    assert latest().outcome == "good"
    done = db.session.get_one(ScheduledTask, task.name)
    assert (done.failures, done.said) == (0, latest().words)
    assert task.run() == "not due"
