"""`viewer up`: one command runs a host, and leaves nothing behind, however it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import requests
from PIL import Image

from tests import people
from tests.conftest import SECRET
from tests.servers import wait_until
from tests.test_journey import picture
from viewer import create_app
from viewer.extensions import db, sqlite

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.proof  # whole hosts, started and killed


class Up:
    """`viewer up` on a port and in a folder of its own."""

    def __init__(self, data_dir: Path, port: int = 0, **settings: str) -> None:
        self.data_dir = data_dir
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = port or free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        empty = dict.fromkeys(("DATABASE_URL", "REDIS_URL", "MEDIA_ROOT"), "")
        with (data_dir / "log").open("a") as log:
            self.environment = os.environ | empty | {
                "PYTHONPATH": str(ROOT), "DATA_DIR": str(data_dir), "WORKERS": "1",
                "QUO_WEBHOOK_SECRETS": SECRET, "QUO_NUMBERS": "+16175550100",
                "MEDIA_HOSTS": "127.0.0.1", "MEDIA_ALLOW_LOOPBACK": "1",
            } | settings  # fmt: skip
            self.process = subprocess.Popen(
                [sys.executable, "-m", "viewer", "up", "--port", str(self.port)],
                env=self.environment, cwd=data_dir, start_new_session=True, stderr=log,
            )  # fmt: skip
        self._browser: requests.Session | None = None

    def wait(self) -> "Up":
        """Until it answers. It takes 5 s alone, and many times that beside other tests."""
        try:
            wait_until(self.answers, 120)
        except TimeoutError:
            raise TimeoutError((self.data_dir / "log").read_text()) from None
        return self

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.data_dir / "log").read_text()
        try:
            health = requests.get(f"{self.url}/healthz", timeout=5)
        except requests.RequestException:
            return False
        return health.ok and health.json()["redis"]

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

    def browser(self) -> requests.Session:
        """In which the owner is logged in; the first time, an owner is made."""
        if self._browser is None:
            if not self.rows("SELECT 1 FROM users"):
                people.hire(self.environment, cwd=self.data_dir)
            self._browser = people.enter(self.url)
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
        if one.process.poll() is None:
            family = one.family()
            one.process.kill()
            one.process.wait()
            wait_until(lambda family=family: not still_alive(family))


def size_of(image: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(image)) as found:
        return found.size


def test_one_command_carries_a_photo_home_mends_itself_and_stops_cleanly(
    up, provider, message, tmp_path
):
    host = up()
    text = message(media=[provider.serve(picture(), content_type="image/jpeg")])
    confirmed = provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    wait_until(lambda: host.thumbnail_of("Here is the crack") is not None)
    thumbnail = host.thumbnail_of("Here is the crack")

    worker = next(pid for pid, command in host.family().items() if "work intake" in command)
    os.kill(worker, signal.SIGKILL)
    second = message(text="And another", media=[provider.serve(picture(colour="red"))])
    provider.deliver(f"{host.url}/webhooks/quo", second.payload(), secret=SECRET)
    stored = "SELECT 1 FROM media_attachments WHERE state = 'stored'"
    wait_until(lambda: len(host.rows(stored)) == 2)
    family = host.family()
    host.process.send_signal(signal.SIGTERM)

    assert host.process.wait(90) == 0
    assert confirmed.status_code == 204
    assert size_of(thumbnail) == (480, 320)
    assert worker not in family
    assert sum("work intake" in command for command in family.values()) >= 1
    assert any("valkey" in command for command in family.values())
    assert still_alive(family) == {}
    assert list((tmp_path / "media" / ".incoming").iterdir()) == []


def test_killed_in_the_middle_nothing_runs_on_and_the_next_start_finishes(
    up, provider, message, tmp_path
):
    arrived, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        arrived.set()
        go_on.wait(60)
        return picture()

    host = up()
    text = message(media=[provider.serve(slowly, content_type="image/jpeg")])
    confirmed = provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    assert arrived.wait(60)
    family = host.family()
    host.process.kill()
    host.process.wait()
    wait_until(lambda: not still_alive(family), 20)  # the work horse that downloads, too
    half_done = host.rows("SELECT state FROM media_attachments")
    # The lease of the dead runs out, and the last sweep was a while ago: nobody waits for a clock.
    host.rows("UPDATE media_attachments SET lease_until = '2026-01-01 00:00:00.000000'")
    host.rows("DELETE FROM duties")
    go_on.set()

    again = up()
    wait_until(lambda: again.thumbnail_of("Here is the crack") is not None)
    family = again.family()
    again.process.send_signal(signal.SIGINT)

    assert again.process.wait(90) == 0
    assert confirmed.status_code == 204
    assert half_done == [("downloading",)]
    assert still_alive(family) == {}
    assert list((tmp_path / "media" / ".incoming").iterdir()) == []


def test_a_second_one_on_the_same_folder_harms_nothing(up, provider, message, tmp_path):
    host = up()

    second = Up(tmp_path)
    ended = second.process.wait(60)

    assert ended == 1
    [said] = [line for line in (tmp_path / "log").read_text().splitlines() if "in use by" in line]
    assert f"pid {host.process.pid} on" in said
    text = message(media=[provider.serve(picture(), content_type="image/jpeg")])
    provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    wait_until(lambda: host.thumbnail_of("Here is the crack") is not None)
    assert host.answers()  # its queue, too


def test_one_that_was_killed_may_be_started_at_once_on_the_same_port(up, tmp_path):
    host = up()
    host.process.kill()
    host.process.wait()  # its parts still run: nobody waits for them

    again = Up(tmp_path, port=host.port).wait()
    left = {pid for pid in host.family() if pid != host.process.pid}
    again.process.send_signal(signal.SIGTERM)

    assert again.process.wait(90) == 0
    assert left == set()


def test_an_old_database_is_copied_before_it_is_migrated(up, tmp_path):
    app = create_app({"DATA_DIR": tmp_path})
    with app.app_context():
        flask_migrate.upgrade(revision="0013")
        db.engine.dispose()

    host = up()

    [copy] = (tmp_path / "snapshots").iterdir()
    with closing(sqlite.connect(copy)) as connection:
        before = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert before == [("0013",)]
    assert host.rows("SELECT version_num FROM alembic_version") != before
