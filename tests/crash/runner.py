"""A process of the viewer that does one thing, so that a test may end it in the middle.

It is forked from a server that has everything imported and nothing running (conftest.py), so a
process that is as fresh as any costs 0.1 s.

Sabotage takes away one of the things that the promises rest on, in this process only: the negative
controls show with it that the suite would see the loss.
"""

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import flask_migrate
import rq
import sqlalchemy as sa
import time_machine
from flask import Flask
from werkzeug.serving import make_server

from tests.support import staff
from viewer import create_app, derive, extensions, failpoint, holdings, jobs
from viewer.extensions import db
from viewer.intake import collect, sweep
from viewer.models import User, WebhookEvent
from viewer.office import accounts
from viewer.storage import disk, workspace
from viewer.upkeep import identity, move, verify
from viewer.upkeep.backup import record
from viewer.upkeep.move import clearing
from viewer.upkeep.restore import checks
from viewer.upkeep.restore import run as restores

# When a fresh process looks again, in seconds after the crash: a lease (25 s) and a sweep (10 s)
# have passed; the lease of copies has passed; a part has no hope any more.
LATER = (40.0, 100.0, 7300.0)

Say = Callable[[Any], None]


@dataclass
class Orders:
    """What the process is to do, and what is done to it."""

    action: str
    settings: dict[str, Any]
    failpoints: str = ""
    sabotage: tuple[str, ...] = ()
    later: tuple[float, ...] = (0.0,)
    deliveries: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    lease: float | None = None  # seconds; never renewed then
    spare_files: int | None = None  # how many more files it may open
    paused: bool = False
    count: int = 1
    target: str = ""  # of a backup, or of a restore
    copies: bool = False  # whether "everything" makes copies too: slow, and often beside the point
    warm: bool = False  # whether decoders are forked from a zygote, as in a worker


def run(orders: Orders, say: Say) -> None:
    os.environ[failpoint.VARIABLE] = orders.failpoints
    _add_failpoints()
    _sync_only(orders.settings["DATA_DIR"], orders.settings["MEDIA_ROOT"])
    for name in orders.sabotage:
        SABOTAGE[name]()
    if orders.lease is not None:
        collect.LEASE, collect.RENEW_EVERY = timedelta(seconds=orders.lease), 1000.0
    app = create_app(orders.settings)
    decoders = derive.warm() if orders.warm else contextlib.nullcontext()
    with app.app_context(), decoders:
        ACTIONS[orders.action](app, orders, say)


def be_forked(orders: Orders, pipe: Connection) -> None:
    """What the new process begins with."""
    if orders.paused:  # until somebody watches
        pipe.send(os.getpid())
        pipe.recv()
    run(orders, pipe.send)


# --- What it can do ------------------------------------------------------------------------


def _serve(app: Flask, _orders: Orders, say: Say) -> None:
    """Answer real HTTP until killed, for an owner who may log in."""
    if accounts.find_user(staff.EMAIL) is None:
        accounts.add(staff.EMAIL, User.Role.OWNER, "", accounts.hash_password(staff.PASSWORD))
    db.session.commit()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    say(server.port)
    server.serve_forever()


def _receive(app: Flask, orders: Orders, say: Say) -> None:
    """Take deliveries; say each status only when the client has read it."""
    client = app.test_client()
    for body, headers in orders.deliveries:
        say(client.post("/webhooks/quo", data=body, headers=headers).status_code)


def _ingest(_app: Flask, _orders: Orders, _say: Say) -> None:
    """At once, as the webhook's own reminder would have it."""
    open_events = sa.select(WebhookEvent.id).filter_by(state=WebhookEvent.State.RECEIVED)
    row_ids = db.session.scalars(open_events).all()
    db.session.rollback()
    for row_id in row_ids:
        jobs.ingest_event(str(row_id))


def _announce(app: Flask, orders: Orders, say: Say) -> None:
    _receive(app, orders, say)
    _ingest(app, orders, say)


def _collect(_app: Flask, orders: Orders, _say: Say) -> None:
    with _clock_ahead(orders.later[0]), _few_files(orders.spare_files):
        for row_id in _due().media:
            jobs.collect_media(str(row_id))


def _copies(_app: Flask, orders: Orders, _say: Say) -> None:
    with _clock_ahead(orders.later[0]):
        for row_id in _due().copies:
            jobs.derive_media(str(row_id))


def _everything(_app: Flask, orders: Orders, _say: Say) -> None:
    """What the sweep and the workers do, at each of the times, until nothing is due."""
    for seconds in orders.later:
        with _clock_ahead(seconds):
            for _ in range(20):
                sweep.sweep()
                db.session.commit()
                sweep.tidy()
                due = _due() if orders.copies else replace(_due(), copies=[])
                if not (due.events or due.media or due.copies):
                    break
                for row_id in due.events:
                    jobs.ingest_event(str(row_id))
                for row_id in due.media:
                    jobs.collect_media(str(row_id))
                for row_id in due.copies:
                    jobs.derive_media(str(row_id))


def _work(_app: Flask, _orders: Orders, _say: Say) -> None:
    """As `viewer work intake`, with what the orders changed."""
    jobs.work([jobs.INTAKE])


def _count_files(_app: Flask, orders: Orders, say: Say) -> None:
    """Try to collect again and again; how many files are open after the first try and the last."""
    for turn in range(orders.count):
        with _clock_ahead(turn * 40.0):
            for row_id in _due().media:
                jobs.collect_media(str(row_id))
            for row_id in _due().copies:
                jobs.derive_media(str(row_id))
        if turn in (0, orders.count - 1):
            say(_open_files())


def _back_up(_app: Flask, orders: Orders, say: Say) -> None:
    with _clock_ahead(orders.later[0]):
        result = record.back_up(orders.target, same_filesystem=True)
    say((result.is_good, result.words, result.counts))


def _restore(_app: Flask, orders: Orders, say: Say) -> None:
    plan = checks.make_plan(orders.target, None)
    result = restores.restore(plan, lambda more: create_app(orders.settings | more))
    say((result.is_whole, result.words))


def _verify(_app: Flask, _orders: Orders, say: Say) -> None:
    """Check the folder of this host, and repair what is damaged in it."""
    result = verify.verify(holdings.own_id())
    say((str(result.outcome), result.repaired))


def _move(_app: Flask, orders: Orders, say: Say) -> None:
    target = move.find(orders.target)
    move.take(target)
    result = move.Move(target, 1, move.Pace(None)).run(lambda _files, _size: None)
    say((str(result.outcome), result.moved))


def _clear(_app: Flask, _orders: Orders, _say: Say) -> None:
    clearing.clear()


def _start(_app: Flask, _orders: Orders, _say: Say) -> None:
    """What `viewer up` does first: the schema, and the folder's marker."""
    flask_migrate.upgrade()
    identity.ensure()


ACTIONS: dict[str, Callable[[Flask, Orders, Say], None]] = {
    "start": _start,
    "serve": _serve,
    "receive": _receive,
    "ingest": _ingest,
    "announce": _announce,
    "collect": _collect,
    "copies": _copies,
    "everything": _everything,
    "back-up": _back_up,
    "restore": _restore,
    "verify": _verify,
    "move": _move,
    "clear": _clear,
    "work": _work,
    "count-files": _count_files,
}


def _due() -> sweep.Due:
    found = sweep.due()
    db.session.rollback()
    return found


@contextlib.contextmanager
def _clock_ahead(seconds: float) -> Iterator[None]:
    if not seconds:
        yield
        return
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True):
        yield


@contextlib.contextmanager
def _few_files(spare: int | None) -> Iterator[None]:
    if spare is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One number is taken by the counting itself.
    resource.setrlimit(resource.RLIMIT_NOFILE, (_open_files() - 1 + spare, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one call, one descriptor


# --- Places to die at that the product does not name ------------------------------------------


def _add_failpoints() -> None:
    seal, enqueue, write = workspace.FilePart.seal, rq.Queue.enqueue_call, collect._write

    def written_then_seal(part: workspace.FilePart) -> None:
        part.file.flush()
        failpoint.failpoint("test.written")
        seal(part)

    def enqueue_later(*words: Any, **named: Any) -> Any:
        failpoint.failpoint("test.enqueue")
        return enqueue(*words, **named)

    def write_later(*words: Any, **named: Any) -> bool:
        failpoint.failpoint("test.write")
        return write(*words, **named)

    workspace.FilePart.seal = written_then_seal  # type: ignore[method-assign]
    rq.Queue.enqueue_call = enqueue_later  # type: ignore[method-assign]
    collect._write = write_later


def _sync_only(*folders: str) -> None:
    """`os.sync` syncs every disk of the machine: also those whose loss another test awaits."""

    def sync() -> None:
        subprocess.run(["sync", "-f", *folders], check=True)

    os.sync = sync


# --- Sabotage ------------------------------------------------------------------------------


def _no_file_fsync() -> None:
    def seal(part: workspace.FilePart) -> None:
        part.file.flush()
        part.file.close()
        failpoint.failpoint("storage.sealed")

    workspace.FilePart.seal = seal  # type: ignore[method-assign]


def _no_folder_fsync() -> None:
    disk.fsync_folder = lambda _folder: None


def _row_before_link() -> None:
    intend = collect._intend

    def intend_and_say_so(claim: Any, path: str, receipt: Any) -> bool:
        is_free = intend(claim, path, receipt)
        collect._mark_stored(claim, receipt, holdings.own_id())
        return is_free

    collect._intend = intend_and_say_so


def _sqlite_delete_full() -> None:
    extensions._safe_pair = lambda: ("delete", 2)


def _postgres_async() -> None:
    @sa.event.listens_for(sa.Engine, "connect")
    def forget(connection: Any, _record: object) -> None:
        connection.execute("SET synchronous_commit = off")
        connection.commit()


def _parts_have_known_names() -> None:
    """Not a loss, but strace's -P must know the path before there is one."""
    numbers = itertools.count(1)
    workspace.uuid = types.SimpleNamespace(  # type: ignore[attr-defined]
        uuid4=lambda: f"part-{next(numbers)}"
    )


def _decoder_aborts() -> None:
    """The decoders' child dies of SIGABRT for pictures, as a broken library would make it."""
    derive._BOOT = (
        "import json, os, sys\n"
        'if json.loads(sys.argv[1])["mime_type"] == "image/png": os.abort()\n' + derive._BOOT
    )


def _decoder_kills_parent() -> None:
    """Whoever runs the decoder dies while it decodes."""
    derive._BOOT = f"import os\nos.kill({os.getpid()}, {signal.SIGKILL:d})\n" + derive._BOOT


SABOTAGE: dict[str, Callable[[], None]] = {
    "no-file-fsync": _no_file_fsync,
    "no-folder-fsync": _no_folder_fsync,
    "row-before-link": _row_before_link,
    "sqlite-delete-full": _sqlite_delete_full,
    "postgres-async": _postgres_async,
    "known-parts": _parts_have_known_names,
    "decoder-aborts": _decoder_aborts,
    "decoder-kills-parent": _decoder_kills_parent,
}
