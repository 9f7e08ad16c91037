"""`viewer up`, and its processes: web, work, schedule."""

import contextlib
import errno
import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from types import FrameType
from typing import Any

import click
import sqlalchemy as sa
from flask import Flask
from gunicorn.app.base import BaseApplication

from viewer import derive, holdings, host_lock, jobs, liveness, supervise, valkey, watchdog
from viewer import schedule as clock
from viewer.commands.context import (
    PROBLEMS,
    CannotStart,
    in_one_sentence,
    migrate,
    new_app,
    one_line_errors,
    opened_app,
)
from viewer.config import Settings, read
from viewer.extensions import db
from viewer.loopback import is_loopback
from viewer.models import User
from viewer.serving.lanes import ViewerWorker
from viewer.upkeep import identity
from viewer.upkeep.move import setting

# Of workers: somebody waits for the answers of the web processes. Not more: a worker that seldom
# runs while it holds SQLite's write lock makes everybody wait.
NICENESS = 5

PORT = click.IntRange(1, 65_535)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8000, show_default=True)
def up(host: str, port: int) -> None:
    """Run all processes on this host; Ctrl-C stops them."""
    found = read()
    with host_lock.hold(found.data_dir) as locks:
        sys.exit(run_host(found, host, port, locks))


def run_host(
    settings: Settings,
    host: str,
    port: int,
    locks: host_lock.Locks,
    others: Sequence[supervise.Part] = (),
) -> int:
    """Run all parts, and `others`, until a signal. Returns the exit code."""
    must_be_free(host, port)
    app = new_app()
    parts = _parts(app, settings, host, port)
    if not is_loopback(host) and settings.VIEWER_ENV != "production":
        click.echo(
            f"Note: {host} is not this machine alone, and with VIEWER_ENV=development the login's"
            " cookie also travels over plain http.",
            err=True,
        )
    elif not is_loopback(host) and settings.is_for_this_machine_alone:
        click.echo(
            f"Note: {host} is not this machine alone, but pages open on it alone (and deliveries"
            " are taken) until PUBLIC_URL is set, such as https://photos.example.",
            err=True,
        )
    with app.app_context(), in_one_sentence(settings):
        migrate(settings)
        identity.ensure()
        setting.follow()
        if settings.media_root.exists() and not os.access(settings.media_root, os.W_OK):
            # Start anyway: deliveries are stored, downloads wait, and stored photos are shown.
            click.echo(f"Note: MEDIA_ROOT {settings.media_root} is read-only now.", err=True)
        if db.session.scalar(sa.select(User.id).limit(1)) is None:
            click.echo("Nobody can log in yet: viewer user add EMAIL --role owner", err=True)
        db.session.remove()
        db.engine.dispose()
    try:
        return supervise.run([*parts, *others], inherited=[locks.parts], private=[locks.own])
    finally:
        # A disk or database that is gone by now must not turn a clean exit into an error.
        with contextlib.suppress(*PROBLEMS), opened_app():
            holdings.spool().tidy(older_than=0)  # all writers have ended: remove every partial file


def must_be_free(host: str, port: int, option: str = "--port") -> None:
    """Raises CannotStart if the port is taken, or gunicorn would be restarted again and again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET  # as gunicorn chooses
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)  # some systems report a conflict only here
        except socket.gaierror as error:
            raise CannotStart(f"--host: {host} is not known here: {error.strerror}") from None
        except PermissionError:
            raise CannotStart(f"{option}: only root may serve on port {port}") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                words = f"{option}: another program serves on {host} port {port}; choose another"
                raise CannotStart(words) from None
            raise CannotStart(f"--host: cannot serve on {host}: {error.strerror}") from None


def _parts(app: Flask, settings: Settings, host: str, port: int) -> list[supervise.Part]:
    """All of them share the memory of the application, but nothing that it has open."""
    parts = [
        supervise.Part(
            "web",
            _in_one_line(partial(_serve, app, host, port)),
            rank=3,
            liveness=liveness.of_web(host, port),
        ),
        _scheduler(app),
        *(
            _worker(app, f"work-{number}", [jobs.INTAKE], rank=2)
            for number in range(1, settings.WORKERS + 1)
        ),
        _worker(app, "copies", [jobs.COPIES], rank=2),
    ]
    if not settings.REDIS_URL.get_secret_value():
        try:
            command = valkey.command(settings.data_dir, settings.embedded_redis_socket)
        except OSError as error:
            words = f"DATA_DIR: {settings.data_dir}/valkey cannot be used"
            raise CannotStart(f"{words}: {error.strerror}") from None
        # Not vital: without the queue, deliveries are still stored and pages served.
        answers = liveness.of_valkey(str(settings.embedded_redis_socket))
        parts.insert(0, supervise.Part("valkey", command, rank=0, is_vital=False, liveness=answers))
    return parts


def _worker(app: Flask, name: str, queues: Sequence[str], rank: int = 1) -> supervise.Part:
    dog = watchdog.Watchdog()
    run = _in_one_line(partial(_work, app, queues, dog))
    return supervise.Part(name, run, rank=rank, watchdog=dog)


def _scheduler(app: Flask) -> supervise.Part:
    dog = watchdog.Watchdog()
    run = _in_one_line(partial(_keep_time, app, dog))
    return supervise.Part("schedule", run, rank=2, watchdog=dog)


def _in_one_line(run: Callable[[], None]) -> Callable[[], None]:
    def say_problems() -> None:
        with one_line_errors():
            run()

    return say_problems


def _work(app: Flask, queues: Sequence[str], dog: watchdog.Watchdog) -> None:
    os.nice(NICENESS)
    with opened_app(app), derive.warm() if jobs.COPIES in queues else nullcontext():
        if jobs.work(queues, watchdog=dog) is jobs.Ended.TO_RESTART:
            sys.exit(supervise.RESTART)


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    def __init__(self, app: Flask | None, options: dict[str, Any]) -> None:
        self.app, self.options = app, options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        with opened_app(self.app) as app:
            gc.collect()
            gc.freeze()  # before the fork: a collection neither copies nor reads what is shared
            return app


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=PORT, default=8000, show_default=True)
@click.option("--processes", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), default=8, show_default=True)
def web(host: str, port: int, processes: int, threads: int) -> None:
    """Serve the web pages and the webhook endpoint."""
    with host_lock.use(read().data_dir):  # the processes inherit it
        _serve(None, host, port, processes, threads)


def _serve(app: Flask | None, host: str, port: int, processes: int = 2, threads: int = 8) -> None:
    _Gunicorn(
        app,
        {
            "bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "workers": processes,
            "threads": threads,
            "worker_class": ViewerWorker,
            "preload_app": True,  # loaded and checked once, and its memory is shared
            "timeout": 60,
            "graceful_timeout": 8,
            "keepalive": 5,
            "loglevel": "warning",
            "control_socket_disable": True,
        },
    ).run()


@click.command()
@click.argument("queues", nargs=-1, type=click.Choice(jobs.QUEUES))
@click.option("--burst", is_flag=True, help="Stop when nothing is due.")
def work(queues: tuple[str, ...], burst: bool) -> None:
    """Run a worker on all queues, or on those named."""
    if burst:
        with opened_app():
            jobs.work(queues or jobs.QUEUES, burst=True)
    else:
        with host_lock.use(read().data_dir):
            with opened_app() as app:  # what does not work is said once, not by each start
                pass
            sys.exit(supervise.run([_worker(app, "work", queues or jobs.QUEUES)]))


@click.command()
def schedule() -> None:
    """Run the scheduler. Safe to run on every host: tasks are leased."""
    _keep_time(None)


def _keep_time(app: Flask | None, dog: watchdog.Watchdog | None = None) -> None:
    stop = threading.Event()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    with opened_app(app) as opened:
        clock.run(opened, stop, dog)
