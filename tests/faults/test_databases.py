"""Rows 64 to 72 of the fault catalogue: the database is slow, away, killed, or knows no tables.

Whatever happens to it, no delivery is confirmed without a row, and none has two.
"""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import psycopg
import pytest
import requests
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.payloads import signed
from tests.support import servers
from tests.support.pictures import picture
from tests.support.servers import free_port
from tests.support.stored_files import row
from tests.support.webhooks import DOOR, SECRET, kept
from viewer import create_app, extensions, jobs
from viewer.extensions import db, is_of_a_model, now
from viewer.intake import collect, ingest
from viewer.models import MediaAttachment, Message, WebhookEvent

POSTGRES = pytest.mark.parametrize("database", ["postgresql"], indirect=True)

State = MediaAttachment.State


@pytest.fixture
def announced(deliver, message, provider) -> Callable[..., Any]:
    """The id of a photo that is announced and not yet collected."""

    def announce(content: Any = None) -> Any:
        deliver(message(media=[provider.serve(content or picture())]).payload())
        [event] = db.session.scalars(sa.select(WebhookEvent).filter_by(state="received"))
        [media_id] = ingest.ingest(event.id)
        db.session.commit()
        return media_id

    return announce


def files_below(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.glob("2*/**/*") if path.is_file()]


# --- 64: locked ------------------------------------------------------------------------------


def test_64_a_delivery_waits_for_a_database_that_is_locked_for_a_moment(
    deliver, message, app, tmp_path
):
    other = extensions.sqlite.connect(
        tmp_path / "viewer.db", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.0, other.execute, ["ROLLBACK"])
    release.start()

    answer = deliver(message().payload(), delivery_id="msg_1")

    release.join()
    other.close()
    assert answer.status_code == 204
    assert [name for name, _ in kept(app)] == ["msg_1"]


# --- 65, 66: killed, and started again -------------------------------------------------------


class Killable:
    """A PostgreSQL of this test's own."""

    def __init__(self, server: servers.Postgres) -> None:
        self.server = server

    def kill(self) -> None:
        """As the kernel does when memory is short: at once, with all that it was doing."""
        pid = int((self.server.data / "postmaster.pid").read_text().split()[0])
        # Its children, too: one that has not noticed yet would still commit.
        for one in (pid, *children(pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                psycopg.connect(self.server.url("postgres")).close()

    def start(self) -> None:
        def started() -> bool:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.server._run(
                    "pg_ctl", "-D", str(self.server.data), "-w",
                    "-l", str(self.server.folder / "log"), "restart",
                )  # fmt: skip
                return True
            return False  # what the killed one left is not gone yet

        servers.wait_until(started)


@pytest.fixture
def killable(settings) -> Iterator[Killable]:
    with servers.running_postgres() as server:
        settings["DATABASE_URL"] = server.url(server.create())
        app = create_app(settings)
        with app.app_context():
            flask_migrate.upgrade()
            db.engine.dispose()
        yield Killable(server)


def test_65_66_a_database_that_is_killed_costs_neither_a_delivery_nor_a_photo(
    killable, announced, deliver, message, app, provider, tmp_path
):
    came = iter([killable.kill, lambda: None])

    def killing_once() -> bytes:
        next(came)()
        return picture()

    media_id = announced(killing_once)
    with pytest.raises(sa.exc.OperationalError):
        jobs.collect_media(str(media_id))
    killable.start()

    @sa.event.listens_for(db.engine, "commit", once=True)
    def at_commit(_connection: sa.Connection) -> None:
        killable.kill()

    payload = message().payload()
    first = deliver(payload, delivery_id="msg_cut")  # also 66: its pool held dead connections
    away = deliver(payload, delivery_id="msg_cut")
    killable.start()
    after_restart = deliver(payload, delivery_id="msg_cut")
    with time_machine.travel(now() + collect.LEASE + timedelta(seconds=1)):
        jobs.collect_media(str(media_id))

    assert [answer.status_code for answer in (first, away, after_restart)] == [503, 503, 204]
    assert [name for name, _ in kept(app)].count("msg_cut") == 1
    assert (row(media_id).state, row(media_id).attempts) == (State.STORED, 2)
    assert files_below(tmp_path / "media") == [picture()]


# --- 65: the answer to a commit is lost --------------------------------------------------------


class Cutting:
    """Stands between us and PostgreSQL; when told, takes a COMMIT there and brings nothing back."""

    def __init__(self, server: servers.Postgres) -> None:
        self.armed = False
        self.cuts = 0
        self.folder = Path(tempfile.mkdtemp(prefix="px"))  # short: a socket's path is limited
        self._behind = str(server.folder / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._behind)
                for pump in (self._there, self._back):
                    threading.Thread(target=pump, args=(near, far), daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, contextlib.suppress(OSError):
            while said := near.recv(65536):
                if self.armed and b"COMMIT" in said:
                    self.armed, self.cuts = False, self.cuts + 1
                    near.shutdown(socket.SHUT_RDWR)
                    far.sendall(said)
                    far.shutdown(socket.SHUT_WR)  # it does what it was told, then ends
                    return
                far.sendall(said)
            far.shutdown(socket.SHUT_RDWR)

    def _back(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := far.recv(65536):
                near.sendall(said)


@pytest.fixture
def cutting(settings, postgres) -> Iterator[Cutting]:
    between = Cutting(postgres)
    settings["DATABASE_URL"] = settings["DATABASE_URL"].replace(
        str(postgres.folder), str(between.folder)
    )
    yield between
    between.close()


@POSTGRES
def test_65_a_commit_of_unknown_outcome_is_not_confirmed_and_its_repeat_is_no_second(
    cutting, deliver, message, app, work, provider, tmp_path
):
    photo = provider.serve(picture())
    payload = message(media=[photo]).payload()

    cutting.armed = True
    unknown = deliver(payload, delivery_id="msg_1")
    servers.wait_until(lambda: len(kept(app)) == 1)  # it was committed, and nobody heard of it
    again = deliver(payload, delivery_id="msg_1")
    with time_machine.travel(now() + timedelta(seconds=10)):
        work()

    assert (unknown.status_code, again.status_code, cutting.cuts) == (503, 204, 1)
    assert [name for name, _ in kept(app)] == ["msg_1"]
    assert files_below(tmp_path / "media").count(picture()) == 1
    assert provider.gets(photo) == 1


@POSTGRES
def test_65_a_file_whose_last_commit_was_lost_or_not_is_stored_once(
    cutting, announced, tmp_path, monkeypatch
):
    media_id = announced()
    mark = collect._mark_stored

    def cut_the_last(*words: Any) -> bool:
        cutting.armed = True
        return mark(*words)

    monkeypatch.setattr(collect, "_mark_stored", cut_the_last)
    with pytest.raises(sa.exc.OperationalError):
        collect.collect(media_id)
    servers.wait_until(lambda: row(media_id).state is State.STORED)

    again = collect.collect(media_id)

    assert (again, cutting.cuts, row(media_id).attempts) == (False, 1, 1)
    assert files_below(tmp_path / "media") == [picture()]


# --- 67: forks -------------------------------------------------------------------------------


@BOTH
def test_67_no_connection_is_used_in_another_process_than_the_one_that_opened_it(
    deliver, message, provider, settings, tmp_path, stack
):
    """A part is forked from a process that has had connections, and makes its own application."""
    seen = tmp_path / "connections"

    def born(_connection: Any, record: Any) -> None:
        record.info["born"] = os.getpid()

    def used(_connection: Any, record: Any, _fairy: Any) -> None:
        with seen.open("a") as file:
            file.write(f"{record.info.get('born')} {os.getpid()}\n")

    for name, function in (("connect", born), ("checkout", used)):
        sa.event.listen(sa.pool.Pool, name, function)
        stack.callback(sa.event.remove, sa.pool.Pool, name, function)

    def be_part() -> None:
        with create_app(settings).app_context():
            jobs.work(jobs.QUEUES, burst=True)

    db.engine.dispose()  # what was opened before anybody watched
    deliver(message(media=[provider.serve(picture())]).payload())
    db.session.rollback()
    part = multiprocessing.get_context("fork").Process(target=be_part)
    part.start()
    part.join()

    [media] = db.session.scalars(sa.select(MediaAttachment))
    pairs = {tuple(line.split()) for line in seen.read_text().splitlines()}
    assert media.copy_state is MediaAttachment.CopyState.MADE
    assert len(pairs) >= 2  # this process, and the part
    assert {born for born, used in pairs if born != used} == set()


@POSTGRES
def test_67_the_processes_of_the_web_server_share_only_what_their_parent_has(
    app, settings, message, stack
):
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-m", "viewer", "web", "--processes", "2", "--port", str(port)],
        env=os.environ | {name: str(value) for name, value in settings.items()},
        stderr=subprocess.DEVNULL,
    )
    stack.callback(parent.wait, 60)
    stack.callback(parent.terminate)
    sessions = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    body, headers = signed(message().payload(), "standard", SECRET)
    answers: list[int] = []

    def both_have_connections() -> bool:
        with contextlib.suppress(requests.RequestException):
            url = f"http://127.0.0.1:{port}{DOOR}"
            answers.append(requests.post(url, data=body, headers=headers, timeout=5).status_code)
        db.session.rollback()  # a transaction sees others as they were when it first looked
        # A socket alone may be a browser's.
        return (
            len(children(parent.pid)) == 2
            and all(sockets(pid) - sockets(parent.pid) for pid in children(parent.pid))
            and db.session.scalar(sessions) >= 3
        )

    servers.wait_until(both_have_connections)
    first, second = (sockets(pid) for pid in children(parent.pid))

    assert set(answers) == {204}
    assert first & second <= sockets(parent.pid)
    assert db.session.scalar(sessions) >= 3  # theirs, and ours


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sockets(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            link = path.readlink().name
            found |= {link} if link.startswith("socket:") else set()
    return found


# --- 68: deadlock ----------------------------------------------------------------------------


@POSTGRES
def test_68_an_ingest_that_falls_victim_to_a_deadlock_is_done_again(
    announced, deliver, message, app, work, settings
):
    media_id = announced()
    payload = message().payload()
    payload["data"]["resource"]["id"] = row(media_id).message.provider_id
    db.session.rollback()
    deliver(payload)
    [event] = db.session.scalars(sa.select(WebhookEvent).filter_by(state="received"))
    event_id = str(event.id)
    db.session.rollback()
    troubles: list[str] = []

    def read() -> None:
        try:
            with app.app_context():
                jobs.ingest_event(event_id)
        except sa.exc.OperationalError as trouble:
            troubles.append(type(trouble.orig).__name__)

    with psycopg.connect(settings["DATABASE_URL"], autocommit=True) as watching:
        with psycopg.connect(settings["DATABASE_URL"]) as other:
            # So that it is ours that PostgreSQL sees first, and ends.
            other.execute("SET deadlock_timeout = '30s'")
            other.execute("SELECT 1 FROM media_attachments FOR UPDATE")
            reading = threading.Thread(target=read)
            reading.start()
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            servers.wait_until(lambda: watching.execute(waits).fetchone() is not None)
            other.execute("SELECT pg_advisory_xact_lock(hashtext('ingest'))")
        reading.join()
        victims = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        servers.wait_until(lambda: watching.execute(victims).fetchone() == (1,))
    db.session.refresh(event)
    after = event.state, event.attempts
    db.session.rollback()
    work()

    assert troubles == []
    assert after == (WebhookEvent.State.PROCESSED, 1)
    assert row(media_id).state is State.STORED


# --- 70, 71: schemas -------------------------------------------------------------------------

KILLED_AT = """
import os, signal, sys
import flask_migrate, sqlalchemy as sa
from viewer import create_app
from viewer.extensions import db

with create_app().app_context():
    left = [int(sys.argv[1])]

    @sa.event.listens_for(db.engine, "before_cursor_execute")
    def count(_connection, _cursor, statement, *_):
        left[0] -= statement.split()[0] in ("CREATE", "ALTER", "INSERT", "UPDATE")
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    flask_migrate.upgrade()
"""


@BOTH
def test_70_a_migration_that_was_killed_is_done_by_the_next_start(database, tmp_path, request):
    if database == "sqlite":
        url = f"sqlite:///{tmp_path}/viewer.db"
    else:
        server: servers.Postgres = request.getfixturevalue("postgres")
        url = server.url(server.create())
    given = {"DATA_DIR": str(tmp_path), "DATABASE_URL": url}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, "25"], env=os.environ | given, check=False
    )
    with create_app(given).app_context():
        flask_migrate.upgrade()
        names = sa.inspect(db.engine).get_table_names()
        found = {name for name in names if is_of_a_model(name, "table", {})}
        db.engine.dispose()

    assert killed.returncode == -signal.SIGKILL
    assert found == set(db.metadata.tables) | {"alembic_version"}


@BOTH
def test_71_without_its_tables_the_door_says_503_and_the_repeat_is_kept(
    database, deliver, message, app
):
    payload = message().payload()
    flask_migrate.downgrade(revision="base")
    unmigrated = deliver(payload, delivery_id="msg_1")
    flask_migrate.upgrade()

    again = deliver(payload, delivery_id="msg_1")

    assert (unmigrated.status_code, again.status_code) == (503, 204)
    assert [name for name, _ in kept(app)] == ["msg_1"]


# --- 72: texts ---------------------------------------------------------------------------------

ODD = "a\x00b \ud800 c \u202e d"
LONG = "x" * 5000


@BOTH
def test_72_a_text_that_no_column_would_take_hides_no_photo(
    deliver, client, message, provider, work
):
    text = message(text=ODD + "y" * 900_000, media=[provider.serve(picture())]).payload()
    body = json.dumps(text).encode()  # in escapes, as the wire carries such letters

    answer = deliver(body)
    work()

    assert answer.status_code == 204
    [said] = db.session.scalars(sa.select(Message))
    assert said.body.endswith("y" * 900_000)
    assert not {"\x00", "\ud800"} & set(said.body)
    assert said.media[0].state is State.STORED
    assert client.get("/").status_code == 200
    assert client.get(f"/conversations/{said.conversation_id}").status_code == 200


@POSTGRES
def test_72_ten_megabytes_by_another_door_than_the_webhook_are_read_too(app, message):
    text = message(text="y" * 10_000_000).payload()
    event, _ = WebhookEvent.record("log_1", "log", json.dumps(text).encode())
    db.session.commit()

    jobs.ingest_event(str(event.id))

    [said] = db.session.scalars(sa.select(Message))
    assert len(said.body) == 10_000_000


@POSTGRES  # SQLite takes any length
@pytest.mark.parametrize(
    "overlong",
    [
        {"data": {"resource": {"status": LONG, "errorCode": LONG}}},
        {"data": {"context": {"conversationId": f"CN{LONG}"}}},
        {"data": {"context": {"phoneNumberId": f"PN{LONG}"}}},
        {"data": {"context": {"userId": f"US{LONG}"}}},
        {"data": {"context": {"senderIdentifier": LONG}}},
        {"data": {"context": {"recipientIdentifiers": [f"+1617555{n:04}" for n in range(900)]}}},
        {"data": {"resource": {"createdAt": 10**20 - 1}}},
        {"id": f"EV{LONG}"},
    ],
    ids=["status", "conversation", "line", "user", "sender", "crowd", "time", "event"],
)
def test_72_a_field_that_no_column_would_take_hides_no_photo(
    overlong, deliver, message, provider, work
):
    payload = merged(message(media=[provider.serve(picture())]).payload(), overlong)

    answers = [deliver(payload, scheme).status_code for scheme in ("standard", "legacy")]
    work()

    assert answers == [204, 204]
    [photo] = db.session.scalars(sa.select(MediaAttachment))
    assert photo.state is State.STORED
    states = db.session.scalars(sa.select(WebhookEvent.state)).all()
    assert set(states) == {WebhookEvent.State.PROCESSED}


def merged(one: Any, other: Any) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return one | {name: merged(one.get(name), value) for name, value in other.items()}
