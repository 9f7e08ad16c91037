"""deploy/Dockerfile: each step taken in a plain shell, then run as the image would be."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import dockerfile
from tests.deploy.conftest import DEPLOY, ROOT
from tests.support.servers import free_port, wait_until

FILE = DEPLOY / "Dockerfile"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that everybody may enter, and whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="dk"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_it_runs_as_nobody_in_particular_and_without_a_shell_in_between():
    said = list(dockerfile.steps(FILE.read_text()))
    last = dict(said)
    installs = [words for name, words in said if name == "RUN" and "requirements.txt" in words]

    assert [name for name, _ in said].count("FROM") == 2
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last["USER"])
    assert dockerfile.command_of(last["CMD"])[:2] == ["viewer", "up"]
    assert "/healthz" in last["HEALTHCHECK"]
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["VOLUME"] == "/data"
    assert installs
    assert all(
        words.count("--no-deps") == words.count("--require-hashes") == words.count(" -r ")
        for words in installs
    )


def test_a_build_is_sent_no_secret_and_no_data(scratch):
    shutil.copytree(ROOT / "deploy", scratch / "here" / "deploy")
    here = scratch / "here"
    shutil.copy(ROOT / ".dockerignore", here)
    for name in (
        "viewer/.env",
        ".env",
        "var/viewer.db",
        "viewer/a.py",
        "tests/b.py",
        "pyproject.toml",
    ):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("x")
    subprocess.run(["git", "init", "-q"], cwd=here, check=True)

    context = dockerfile.sent(here, scratch / "context")

    found = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    assert found == {"viewer/a.py", "pyproject.toml"}


@pytest.mark.proof
def test_its_steps_make_a_viewer_that_starts_is_healthy_and_stops(scratch):
    context = dockerfile.sent(ROOT, scratch / "context")

    image = dockerfile.build(FILE, context, scratch)

    port = str(free_port())
    uid, gid = map(int, image.user.split(":"))
    _, _, check = image.said["HEALTHCHECK"].partition("CMD ")
    ask, start = (
        [word.replace("8000", port).replace("0.0.0.0", "127.0.0.1") for word in words]
        for words in (dockerfile.command_of(check), dockerfile.command_of(image.said["CMD"]))
    )
    other = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
    environment = image.environment | {
        "WORKERS": "1", "TRUSTED_HOSTS": ".example.com, other.test",
        "PUBLIC_URL": "https://viewer.example.com",
    }  # fmt: skip

    def is_healthy() -> bool:
        asked = subprocess.run(
            ask, env=environment, cwd=image.folder, stderr=subprocess.DEVNULL, **other
        )
        return asked.returncode == 0

    assert writable(image, uid, gid) == {"data"}
    assert tools(image) == set()
    assert not is_healthy()
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(start, env=environment, cwd=image.folder, stderr=log, **other)
    try:
        wait_until(is_healthy, 120)
        process.send_signal(getattr(signal, image.said["STOPSIGNAL"]))
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert (image.root / "data" / "viewer.db").stat().st_uid == (uid if other else os.getuid())
    assert writable(image, uid, gid) == {"data"}


def writable(image: dockerfile.Stage, uid: int, gid: int) -> set[str]:
    """In which folders at the top somebody who is not root may write something."""
    found = set()
    for path in image.root.rglob("*"):
        status = path.lstat()
        is_ours = status.st_uid == uid or (status.st_gid == gid and status.st_mode & 0o020)
        if is_ours or (status.st_mode & 0o002 and not path.is_symlink()):
            found.add(path.relative_to(image.root).parts[0])
    return found


def tools(image: dockerfile.Stage) -> set[str]:
    """What could build or install something, and has no business in a running viewer."""
    installed = (image.root / "opt/viewer").rglob("*.dist-info")
    names = {path.name.partition("-")[0].lower() for path in installed}
    assert "flask" in names
    return names & {"pip", "setuptools", "wheel", "hatchling", "pytest", "ruff", "mypy"}
