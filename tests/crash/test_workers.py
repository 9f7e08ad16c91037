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
def test_23_an_orphaned_work_horse_and_its_successor_leave_one_file(place, queued, message):
    """kill -9 of a worker leaves its horse at work: what that says after its lease is unheard."""
    queued.announced(message(media=queued.photos()))
    worker = queued.start("work", lease=0.3, failpoints=f"{place}=sleep:4")
    horse = _horse_at(worker.process.pid, queued, place)

    worker.kill()
    os.kill(horse, signal.SIGSTOP)  # however slow this machine: the successor is first
    [claimed] = queued.rows()
    successor = queued.run("collect", later=(40.0,))
    [told] = queued.rows()
    os.kill(horse, signal.SIGCONT)
    wait_until(lambda: not _is_alive(horse))
    [last] = queued.rows()

    assert (claimed["state"], claimed["attempts"], successor) == ("downloading", 1, 0)
    assert (told["state"], told["attempts"]) == ("stored", 2)
    assert last == told
    assert queued.unsettled() == []


def test_24_a_worker_that_is_told_twice_to_stop_in_a_download_loses_nothing(
    queued, message, valkey_url
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

        worker.send_signal(signal.SIGTERM)
        still_working = _horse_of(worker.pid)

        def ends_when_told_again() -> bool:
            worker.send_signal(signal.SIGTERM)  # within a second of the first it does not listen
            return worker.poll() is not None

        wait_until(ends_when_told_again)
        broken = queued.violations()

        assert still_working is not None
        assert not _is_alive(still_working)
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


def _horse_at(parent: int, scene, place: str) -> int:
    """The horse of this worker, once it has come to the place where it sleeps."""

    def has_come() -> bool:
        is_placed = bool(checks.originals(scene.media_root))
        has_part = any((scene.media_root / INCOMING).glob("*.part"))
        return {
            "storage.sealed": has_part and not is_placed and _sealed(scene.media_root),
            "collect.placed": is_placed and not has_part,
        }[place]

    wait_until(has_come)
    horse = _horse_of(parent)
    assert horse is not None
    return horse


def _sealed(media_root: Path) -> bool:
    return any(not path.stat().st_mode & 0o222 for path in (media_root / INCOMING).glob("*.part"))


def _horse_of(parent: int) -> int | None:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0]) if children else None


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _environment(settings: dict[str, object]) -> dict[str, str]:
    words = {name: str(value) for name, value in settings.items()}
    return os.environ | words | {"VIEWER_ENV": "development"}
