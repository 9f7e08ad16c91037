"""A small application behind the worker of the viewer, with limits of a few tenths of a second.

python -m tests.support.clocked_server PORT REPORT_FILE NAME=VALUE…
"""

import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from viewer.serving.connection import Headers
from viewer.serving.limits import Limits
from viewer.serving.worker import LARGE, ClockedWorker

LIMIT = 100_000  # bytes of a request's body
BIG = 8 * 1024 * 1024  # bytes of a response
Start = Callable[[str, list[tuple[str, str]]], object]
_held = threading.Event()  # set: whoever waits on /hold goes on


def limit_of(path: str) -> int:
    return 1_000_000 if path == "/large" else LIMIT


def pattern(size: int) -> bytes:
    """Bytes of which no two parts are alike."""
    return b"".join(b"%015d\n" % at for at in range(size // 16))


def application(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/door":
        start("204 No Content", [])
        return []
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the server
        file.write(pattern(BIG))
        file.seek(16)
        start("206 Partial Content", [("Content-Length", str(BIG - 16))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped
    if path == "/stream":
        start("200 OK", [])
        return Stream()
    if path == "/late":
        time.sleep(float(environ["QUERY_STRING"]))
    if path == "/hold":
        _held.wait(30)
    if path == "/fail":
        raise ValueError("as asked")
    limit = limit_of(path)
    body = environ["wsgi.input"].read(limit + 1)
    if len(body) > limit:
        start("413 Content Too Large", [("Content-Length", "0")])
        return []
    answer = f"{environ['REQUEST_METHOD']} {len(body)} {hashlib.sha256(body).hexdigest()}\n"
    start("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]


class Stream:
    """A body that is made while it is sent."""

    def __iter__(self) -> Iterator[bytes]:
        whole = pattern(BIG)
        for at in range(0, BIG, 100_000):
            yield whole[at : at + 100_000]

    def close(self) -> None:
        sys.stderr.write("stream closed\n")
        sys.stderr.flush()


class Worker(ClockedWorker):
    urgent = "door"
    path: Path

    def lanes(self) -> dict[str, int]:
        return {"door": 1, "pages": 2, LARGE: 1}

    def lane_of(self, path: str) -> str:
        return "door" if path in ("/door", "/hold") else "pages"

    def limit_of(self, method: str, path: str, headers: Headers) -> int:
        return limit_of(path)

    def report(self, cuts: Mapping[str, int]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(cuts) + "\n")


class Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__()

    def load_config(self) -> None:
        for name, value in {
            "bind": f"127.0.0.1:{self.port}", "worker_class": Worker, "timeout": 3,
            "graceful_timeout": 5, "keepalive": 2, "loglevel": "info",
            "control_socket_disable": True,
        }.items():  # fmt: skip
            self.cfg.set(name, value)

    def load(self) -> Any:
        return application


if __name__ == "__main__":
    changed = {
        name: float(value) for name, _, value in (one.partition("=") for one in sys.argv[3:])
    }
    Worker.limits = replace(Limits(), **changed)  # type: ignore[arg-type]
    Worker.path = Path(sys.argv[2])
    sys.argv[1:] = sys.argv[1:2]
    Server(int(sys.argv[1])).run()
