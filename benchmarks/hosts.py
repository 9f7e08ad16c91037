"""What benchmarks start and ask: a viewer of this checkout or of another one, and other servers."""

import base64
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from tests.payloads import Message, signed
from tests.support.servers import free_port

CHECKOUT = Path(__file__).parent.parent
SECRET = "whsec_" + base64.b64encode(b"bench-only-key-bench-only").decode()
CLIENTS = 8
VIEWER = (sys.executable, "-m", "viewer")


@dataclass
class Host:
    process: subprocess.Popen[bytes]
    folder: Path
    base: str
    environment: dict[str, str]
    first_answer: float  # seconds from the start of the program

    def cpu(self) -> float:
        """Seconds of all its processes so far, living and ended."""
        return cpu_of(self.process.pid)

    def memory(self) -> float:
        """Proportional set size of all its processes, in MB."""
        return float(sum(one.memory_full_info().pss for one in family(self.process.pid))) / 1e6

    def processes(self) -> int:
        return len(family(self.process.pid))

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    def count(self, table: str, condition: str) -> int:
        with closing(sqlite3.connect(f"file:{self.folder}/viewer.db?mode=ro", uri=True)) as found:
            query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608 - ours
            number: int = found.execute(query).fetchone()[0]
            return number

    def wait_for(self, table: str, condition: str, count: int, seconds: float = 900) -> None:
        wait(lambda: self.count(table, condition) >= count, seconds, every=0.1)


def family(pid: int) -> list[psutil.Process]:
    """This process and all that came of it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_of(*pids: int) -> float:
    """Seconds of CPU that these processes and their children have taken so far."""
    return float(sum(sum(one.cpu_times()[:4]) for pid in pids for one in family(pid)))


@contextmanager
def running(
    checkout: Path = CHECKOUT, *, workers: int = 2, command: str = "up", **more: str
) -> Iterator[Host]:
    """`viewer up` of this checkout, on a folder of its own, once it answers."""
    folder, port = Path(tempfile.mkdtemp(prefix="bench")), free_port()
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "DATA_DIR": str(folder),
        "QUO_WEBHOOK_SECRETS": SECRET,
        "QUO_NUMBERS": "+16175550100",
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": "1",
        "WORKERS": str(workers),
        "LOG_LEVEL": "WARNING",
        **more,
    }
    begun = time.monotonic()
    process = subprocess.Popen(
        [*VIEWER, command, "--port", str(port)],
        cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: answers(base), 60)
        yield Host(process, folder, base, environment, time.monotonic() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder)


def answers(base: str) -> bool:
    try:
        return requests.get(f"{base}/healthz", timeout=5).status_code in (200, 503)
    except requests.RequestException:
        return False


def wait(ready: Callable[[], bool], seconds: float, every: float = 0.01) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(every)


def deliver(base: str, messages: list[Message], clients: int = CLIENTS) -> list[float]:
    """Deliver all of them, so many at once. Seconds until each answer."""
    ready = [signed(message.payload(), "standard", SECRET) for message in messages]

    def post(share: int) -> list[float]:
        took = []
        with requests.Session() as session:
            for body, headers in ready[share::clients]:
                begun = time.perf_counter()
                answer = session.post(
                    f"{base}/webhooks/quo", data=body, headers=headers, timeout=30
                )
                took.append(time.perf_counter() - begun)
                assert answer.status_code == 204, answer.status_code
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [seconds for times in pool.map(post, range(clients)) for seconds in times]


@contextmanager
def serving(
    command: Sequence[str], port: int, checkout: Path = CHECKOUT, **environment: str
) -> Iterator[int]:
    """The pid of a program, once it listens on this port. Killed at the end: it keeps nothing."""
    process = subprocess.Popen(
        command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)} | environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: _listens(port), 60)
        yield process.pid
    finally:
        for one in family(process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def commit(revision: str | None) -> Iterator[Path | None]:
    """A checkout of that revision beside this one, if one is asked for."""
    if revision is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-before"))
    git = ["git", "-C", str(CHECKOUT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)
