"""Peers of the webhook, behind the same server: what no webhook can do without, and the plain one.

`bare` checks the signature, inserts one durable row and answers. `plain` also downloads the photos
of the message and keeps them, before it answers. The row goes to SQLite in the folder, or to the
PostgreSQL of the address.

    python -m benchmarks.bare_door FOLDER bare|plain PORT [postgresql://…]
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import requests
from gunicorn.app.base import BaseApplication

from benchmarks import hosts
from viewer.extensions import sqlite_driver

INSERT = "INSERT INTO events VALUES (%s, %s) ON CONFLICT DO NOTHING"
KEY = base64.b64decode(hosts.SECRET.removeprefix("whsec_"))


def made(folder: Path, design: str, database: str) -> Callable[..., Iterable[bytes]]:
    local = threading.local()
    insert = INSERT if database else INSERT.replace("%s", "?")

    def connection() -> Any:
        if not hasattr(local, "connection"):
            local.connection = _connect(folder, database)
        return local.connection

    def answer(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        name, moment = environ["HTTP_WEBHOOK_ID"], environ["HTTP_WEBHOOK_TIMESTAMP"]
        digest = hmac.digest(KEY, f"{name}.{moment}.".encode() + body, hashlib.sha256)
        expected = "v1," + base64.b64encode(digest).decode()
        if not hmac.compare_digest(expected, environ["HTTP_WEBHOOK_SIGNATURE"]):
            start("401 Unauthorized", [("Content-Length", "0")])
            return [b""]
        if design == "plain":
            _download(folder, body)
        connection().execute(insert, (name, body))
        start("204 No Content", [])
        return [b""]

    return answer


def _connect(folder: Path, database: str) -> Any:
    if database:
        return psycopg.connect(database, autocommit=True)
    connection = sqlite_driver.connect(folder / "bare.db", timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create(folder: Path, database: str) -> None:
    connection = _connect(folder, database)
    if not database:
        connection.execute("PRAGMA journal_mode = wal")  # stays with the file
    kind = "BYTEA" if database else "BLOB"
    connection.execute(f"CREATE TABLE events (id TEXT PRIMARY KEY, body {kind})")
    connection.close()


def _download(folder: Path, body: bytes) -> None:
    media = json.loads(body)["data"]["resource"]["media"]
    for item in media:
        path = folder / f"{uuid.uuid4()}.jpg"
        with path.open("wb") as file:
            file.write(requests.get(item["url"], timeout=30).content)
            file.flush()
            os.fsync(file.fileno())


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, folder: Path, design: str, port: int, database: str) -> None:
        self.door, self.port = made(folder, design, database), port
        super().__init__()

    def load_config(self) -> None:
        for name, value in {
            "bind": f"127.0.0.1:{self.port}",
            "workers": 2,
            "threads": 8,
            "worker_class": "gthread",
            "loglevel": "error",
            "control_socket_disable": True,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Iterable[bytes]]:
        return self.door


def main(folder: str, design: str, port: str, database: str = "") -> None:
    _create(Path(folder), database)
    _Server(Path(folder), design, int(port), database).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
