"""Whole hosts: `viewer up` on a port and in a folder of its own, ended with the test."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import staff
from tests.support.servers import free_port, wait_until
from tests.support.webhooks import SECRET
from viewer.extensions import sqlite

ROOT = Path(__file__).parents[2]


class Up:
    """`viewer up` on a port and in a folder of its own."""

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        command: Sequence[str] = staff.COMMAND,
        **settings: str,
    ) -> None:
        self.data_dir, self.command = data_dir, command
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        empty = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "MEDIA_ROOT"), "")
        with (data_dir / "log").open("a") as log:
            self.environment = os.environ | empty | {
                "PYTHONPATH": str(ROOT), "DATA_DIR": str(data_dir), "WORKERS": "1",
                "QUO_WEBHOOK_SECRETS": SECRET, "QUO_NUMBERS": "+16175550100",
                "MEDIA_HOSTS": "127.0.0.1", "MEDIA_ALLOW_LOOPBACK": "1",
            } | settings  # fmt: skip
            self.process = subprocess.Popen(
                [*command, "up", "--port", str(self.port)],
                env=self.environment, cwd=data_dir, start_new_session=True, stderr=log,
            )  # fmt: skip
        self._browser: requests.Session | None = None

    def wait(self) -> "Up":
        """Until it answers. It takes 5 s alone, and many times that beside other tests.

        For some seconds the web part of one that was killed may still answer on the same port: so
        this one must have parts of its own, too. It understands signals from before the first.
        """
        try:
            wait_until(lambda: self.answers() and len(self.family()) > 1, 120)
        except TimeoutError:
            raise TimeoutError((self.data_dir / "log").read_text()) from None
        return self

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.data_dir / "log").read_text()
        try:
            health = requests.get(f"{self.url}/healthz", timeout=5)
        except requests.RequestException:
            return False
        return health.ok  # not while Redis is silent

    def family(self) -> dict[int, str]:
        """It and all its descendants: pid and command line."""
        parents, commands = {}, {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(status[1])
        family = {self.process.pid}
        while grown := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= grown
        return {pid: commands.get(pid, "") for pid in family}

    def end(self) -> None:
        """Kill it, if it is alive, and wait until all its descendants have ended, too."""
        if self.process.poll() is None:
            family = self.family()
            self.process.kill()
            self.process.wait()
            wait_until(lambda: not still_alive(family))

    def browser(self) -> requests.Session:
        """In which the owner is logged in; the first time, an owner is made."""
        if self._browser is None:
            if not self.rows("SELECT 1 FROM users"):
                staff.hire(self.environment, self.data_dir, self.command)
            self._browser = staff.enter(self.url)
        return self._browser

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite.connect(self.data_dir / "viewer.db")) as connection:
            found = connection.execute(query).fetchall()
            connection.commit()
        return found

    def thumbnail_of(self, words: str) -> bytes | None:
        """The picture that the page of the only conversation shows."""
        browser = self.browser()
        inbox = browser.get(self.url, timeout=60).text
        if words not in inbox or "/conversations/" not in inbox:
            return None
        page = browser.get(
            f"{self.url}/conversations/{inbox.split('/conversations/')[1][:36]}", timeout=60
        ).text
        if "/thumbnail" not in page:
            return None
        before = page.partition("/thumbnail")[0]
        return browser.get(
            f"{self.url}/media/{before.rpartition('/media/')[2]}/thumbnail", timeout=60
        ).content


def still_alive(pids: dict[int, str]) -> dict[int, str]:
    return {
        pid: command for pid, command in pids.items() if command and _command_of(pid) == command
    }


def _command_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):  # it ended, perhaps just now
        return None


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(**settings: str) -> Up:
        started.append(Up(tmp_path, **settings))  # known before it answers: it is ended in any case
        return started[-1].wait()

    yield start
    for one in started:
        one.end()
