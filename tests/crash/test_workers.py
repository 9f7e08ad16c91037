"""Real workers on a real queue, ended as machines and people end them."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.crash import checks
from tests.support.hostile_server import HostileServer
from tests.support.servers import wait_until
from viewer import create_app
from viewer.storage.workspace import INCOMING
from viewer.upkeep import identity


@pytest.fixture
def queued(scene, valkey_url, stack):
    """A viewer with a queue, nothing in it."""
    with redis.from_url(valkey_url) as connection:
        connection.flushall()
    scene.settings["REDIS_URL"] = valkey_url
    return scene


@pytest.mark.parametrize("place", ["storage.sealed", "collect.placed"])
def test_23_a_worker_that_stood_still_and_its_successor_leave_one_file(place, queued, message):
    """What a worker says of a file after its lease has ended is unheard."""
    queued.announced(message(media=queued.photos()))
    worker = queued.start("work", lease=0.3, failpoints=f"{place}=sleep:2")
    _wait_until_at(queued, place)

    os.kill(worker.process.pid, signal.SIGSTOP)  # however slow this machine: the successor is first
    [claimed] = queued.rows()
    successor = queued.run("collect", later=(40.0,))
    [told] = queued.rows()
    os.kill(worker.process.pid, signal.SIGCONT)
    os.kill(worker.process.pid, signal.SIGTERM)  # it ends once its download has
    code = worker.ended()
    [last] = queued.rows()

    assert (claimed["state"], claimed["attempts"], successor) == ("downloading", 1, 0)
    assert (told["state"], told["attempts"]) == ("stored", 2)
    assert last == told
    assert code == 0
    assert queued.unsettled() == []


def test_24_a_worker_that_is_killed_in_downloads_loses_nothing(queued, message):
    urls = queued.photos(count=3, delay=2)
    queued.announced(message(media=urls))
    worker = queued.start("work")
    wait_until(lambda: all(queued.provider.gets(url) == 1 for url in urls))

    worker.kill()
    broken = queued.violations()

    assert broken == []
    assert [row["state"] for row in queued.rows()] == ["downloading"] * 3
    assert queued.recover() == 0
    assert queued.unsettled() == []


def test_24_a_worker_that_is_told_to_stop_in_a_download_that_does_not_end_loses_nothing(
    queued, message
):
    with create_app(queued.settings).app_context():
        identity.ensure()  # as the first start of a host does
    with ExitStack() as stack:
        server = stack.enter_context(HostileServer())
        half_is_out = queued.announced_half(server, message)
        worker = subprocess.Popen(
            [sys.executable, "-m", "viewer", "work", "intake"], env=_environment(queued.settings)
        )
        assert half_is_out.wait(60)
        [part] = _children_of(worker.pid, "viewer: work")

        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)  # told twice by then, and then killed
        broken = queued.violations()

        assert code == 0
        assert not _is_alive(part)
        assert broken == []
        assert queued.recover() == 0
        assert queued.unsettled() == []


def test_24_a_worker_that_is_told_once_finishes_its_download_first(queued, message):
    [url] = queued.photos(delay=1)
    queued.announced(message(media=[url]))
    worker = queued.start("work")
    wait_until(lambda: queued.provider.gets(url) == 1)

    os.kill(worker.process.pid, signal.SIGTERM)
    code = worker.ended()

    assert code == 0
    assert queued.unsettled() == []


def _wait_until_at(scene, place: str) -> None:
    """Until the worker has come to the place where it sleeps."""

    def has_come() -> bool:
        is_placed = bool(checks.originals(scene.media_root))
        has_part = any((scene.media_root / INCOMING).glob("*.part"))
        return {
            "storage.sealed": has_part and not is_placed and _sealed(scene.media_root),
            "collect.placed": is_placed and not has_part,
        }[place]

    wait_until(has_come)


def _sealed(media_root: Path) -> bool:
    return any(not path.stat().st_mode & 0o222 for path in (media_root / INCOMING).glob("*.part"))


def _children_of(parent: int, title: str) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if title in Path(f"/proc/{pid}/cmdline").read_text()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _environment(settings: dict[str, object]) -> dict[str, str]:
    words = {name: str(value) for name, value in settings.items()}
    return os.environ | words | {"VIEWER_ENV": "development"}
