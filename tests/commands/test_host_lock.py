"""One `viewer up` at a time on a DATA_DIR; whoever dies makes room for the next."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.conftest import assert_refused, made
from tests.support.servers import wait_until

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from viewer import host_lock
with host_lock.hold(Path(sys.argv[1])) as locks:
    child = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    heir = (locks.parts,) if "heir" in sys.argv else ()
    process = subprocess.Popen(child, pass_fds=heir, stdout=subprocess.PIPE)
    process.stdout.readline()
    print(process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(environment, tmp_path):
    """Somebody who holds the locks and has started a child; their process and the child's pid."""
    started: list[tuple[subprocess.Popen[str], int]] = []

    def start(*words: str) -> tuple["subprocess.Popen[str]", int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path / "var"), *words],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        started.append((process, int(process.stdout.readline())))
        return started[-1]

    yield start
    for process, child in started:
        process.kill()
        process.communicate()
        if os.path.exists(f"/proc/{child}"):  # noqa: PTH110
            os.kill(child, 9)


def test_the_second_on_a_folder_hears_who_has_it(holder, console, port, tmp_path):
    process, _child = holder()

    done = console("up", "--port", port)

    assert_refused(
        done, f"DATA_DIR: {tmp_path}/var is in use by another viewer", f"pid {process.pid} on",
        socket.gethostname(), "since 20",
    )  # fmt: skip
    assert made(tmp_path / "var") == set()
    assert_refused(console("up", "--port", port), f"pid {process.pid} on")  # it left no trace


def test_any_death_frees_the_folder_though_a_child_lives_on(holder, tmp_path):
    process, child = holder()
    process.kill()
    process.wait()

    again, _child = holder()

    assert again.poll() is None
    assert Path(f"/proc/{child}").exists()


def test_the_next_waits_for_what_an_heir_has_still_to_end(holder, environment, tmp_path):
    process, child = holder("heir")
    process.kill()
    process.wait()
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "var")],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    signed = tmp_path / "var" / "viewer.lock"
    wait_until(lambda: f'"pid": {waiting.pid},' in signed.read_text())  # it has the first lock
    assert waiting.stdout is not None
    os.kill(child, 9)

    its_child = int(waiting.stdout.readline())  # that it started once the heir was gone

    assert not Path(f"/proc/{child}/exe").exists()
    waiting.kill()
    waiting.communicate()
    os.kill(its_child, 9)
