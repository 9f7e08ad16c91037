"""`viewer db copy`: stop the viewer, copy, set DATABASE_URL."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Console, assert_refused
from tests.support.servers import wait_until
from viewer import host_lock


@pytest.fixture
def target(postgres) -> Iterator[str]:
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def begin(environment, tmp_path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command and leave it running."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> "subprocess.Popen[str]":
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "viewer", *words],
                env=environment, cwd=tmp_path, stderr=log, stdout=log, text=True,
            )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.wait()


def hire(console: Console, **settings: str) -> "subprocess.CompletedProcess[str]":
    words = ("user", "add", "olivia@crack.example", "--role", "owner", "--password-stdin")
    return console(*words, typed="a crack in the wall\n", **settings)


@pytest.mark.proof
def test_the_copy_says_what_to_set_and_the_viewer_goes_on_there(console, target):
    hire(console)
    shown = target.replace("viewer@", "viewer:sesame@")

    done, again = (console("db", "copy", "--to", shown) for _ in range(2))
    listed = console("user", "list", DATABASE_URL=target)

    assert done.returncode == 0, done.stderr
    assert "rows of 38 tables copied in" in done.stdout
    assert "counts and hashes of every table are equal" in done.stdout
    assert "DATABASE_URL=postgresql://viewer:***@/test" in done.stdout
    assert (again.returncode, again.stdout) == (2, "")
    assert "The target is not empty" in again.stderr
    assert again.stderr.endswith("Nothing was copied.\n")
    assert "sesame" not in done.stdout + again.stderr
    assert "olivia@crack.example" in listed.stdout


@pytest.mark.proof
def test_k64_with_any_part_running_it_is_refused(console, begin, port, tmp_path):
    hire(console)
    parts = [begin("web", "--port", port), begin("work"), begin("schedule")]
    wait_until(lambda: {one.pid for one in parts} <= _sharing(tmp_path / "var" / "use.lock"))

    done = console("db", "copy", "--to", f"sqlite:///{tmp_path}/copy.db")

    assert done.returncode == 2
    assert f"a viewer runs on {tmp_path}/var" in done.stderr
    assert not (tmp_path / "copy.db").exists()


def _sharing(path: Path) -> set[int]:
    """Who shares this lock. To try it would be in the way of who starts just now."""
    inode = f":{path.stat().st_ino} " if path.exists() else "none"
    locks = Path("/proc/locks").read_text().splitlines()
    return {int(line.split()[4]) for line in locks if "FLOCK" in line and inode in line}


def test_nothing_starts_while_it_is_copied(console, tmp_path):
    assert hire(console).returncode == 0

    with host_lock.hold_alone(tmp_path / "var"):
        done = console("user", "list")

    assert_refused(done, "is being copied (viewer db copy)")


def test_several_parts_share_a_folder(tmp_path):
    with (
        host_lock.use(tmp_path),
        host_lock.use(tmp_path),
        pytest.raises(host_lock.AlreadyRunning, match="a viewer runs on"),
        host_lock.hold_alone(tmp_path),
    ):
        pass

    with host_lock.hold_alone(tmp_path):
        pass


def test_a_viewer_that_is_up_stops_it(tmp_path):
    with (
        host_lock.hold(tmp_path),
        pytest.raises(host_lock.AlreadyRunning, match="in use by another viewer"),
        host_lock.hold_alone(tmp_path),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_used_all_the_same(tmp_path):
    with host_lock.use(tmp_path / "none"):
        pass
