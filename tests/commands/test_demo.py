"""`viewer demo` beside another, and on a machine with settings of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.commands.conftest import assert_refused
from tests.support.servers import free_port, wait_until
from viewer import host_lock

PROVIDER = 8199


class Demo:
    def __init__(self, environment: dict[str, str], folder: Path, port: str, *words: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.said = folder / f"log-{port}"
        with self.said.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "viewer", "demo", "--port", port, *words],
                env=environment, cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip

    def has_photos(self) -> bool:
        """Its page answers, and the stand-in's photos have arrived."""
        assert self.process.poll() is None, self.said.read_text()
        return "deliveries of three months are in" in self.said.read_text()

    def is_healthy(self) -> bool:
        return requests.get(f"{self.url}/healthz", timeout=30).ok

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@pytest.fixture
def demo(environment, tmp_path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(port: str, *words: str) -> Demo:
        started.append(Demo(environment, tmp_path, port, *words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


@pytest.mark.proof
def test_a_demo_runs_beside_a_demo_and_beside_settings_of_this_machine(demo, environment, tmp_path):
    # A real viewer's: none of them may reach the demo.
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgresql://u:sesame@127.0.0.1:1/photos\nMEDIA_ROOT=photos\n"
        "TRUSTED_HOSTS=viewer.example\nREDIS_URL=redis://127.0.0.1:1\n"
    )
    environment["PUBLIC_URL"] = "https://viewer.example"
    first = demo(str(free_port()))
    wait_until(first.has_photos, 180)
    second = demo(str(free_port()))
    wait_until(second.has_photos, 180)

    assert first.stop() == 0
    assert second.is_healthy()  # the end of one takes nothing from the other
    assert second.stop() == 0
    assert (tmp_path / "var" / "demo" / "viewer.db").exists()
    assert (tmp_path / "var" / "demo-2" / "viewer.db").exists()
    assert not (tmp_path / "photos").exists()
    assert not (tmp_path / "var" / "viewer.db").exists()


def test_kept_data_that_another_demo_has_is_not_shared(console, tmp_path):
    with host_lock.hold(tmp_path / "var" / "demo"):
        done = console("demo", "--keep", "--port", str(free_port()))

    assert_refused(done, f"DATA_DIR: {tmp_path}/var/demo is in use by", f"pid {os.getpid()} on")
    assert not (tmp_path / "var" / "demo-2").exists()


@pytest.mark.parametrize("option", ["--port", "--provider-port"])
def test_a_port_that_is_taken_is_said_before_anything_is_removed(option, console, tmp_path):
    kept = tmp_path / "var" / "demo" / "viewer.db"
    kept.parent.mkdir(parents=True)
    kept.write_text("of the demo of yesterday")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        words = (
            ["--port", port] if option == "--port" else ["--port", str(free_port()), option, port]
        )

        done = console("demo", *words)

    assert_refused(done, f"{option}: another program serves on 127.0.0.1 port {port}")
    assert kept.exists()
