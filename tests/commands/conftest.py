"""The `viewer` command in a shell of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.servers import free_port
from viewer.config import Settings

ROOT = Path(__file__).parent.parent.parent
Console = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An installation in an empty folder, whatever this machine has set."""
    inherited = {name: v for name, v in os.environ.items() if name not in Settings.model_fields}
    return inherited | {"VIEWER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def console(environment: dict[str, str], tmp_path: Path) -> Console:
    """Run a command to its end. One that should refuse and serves instead is ended."""

    def run(*words: str, typed: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "viewer", *words],
            env=environment | settings, cwd=tmp_path, input=typed,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def port() -> str:
    """A free one."""
    return str(free_port())


def made(folder: Path) -> set[str]:
    """What lies in a data folder, but for the locks."""
    return {path.name for path in folder.iterdir()} - {"viewer.lock", "parts.lock", "use.lock"}


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """It ended with one sentence that holds these words."""
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert "sesame" not in done.stderr  # the passwords of these tests
