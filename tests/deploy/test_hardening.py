"""What deploy/systemd/viewer.service forbids, the viewer does not need."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import OUR_NUMBER, SECRET
from tests.crash import disks
from tests.deploy import confine
from tests.deploy.conftest import DEPLOY, PHOTO, ROOT, program
from tests.payloads import Message, signed
from tests.support import samples
from tests.support.servers import free_port, wait_until
from viewer.demo.provider import Provider
from viewer.extensions import sqlite

pytestmark = pytest.mark.proof  # a whole host, as root

UNIT = DEPLOY / "systemd" / "viewer.service"

# What a program that was taken over would try first; each line says whether it could.
ATTACK = """
import errno, json, mmap, os, socket, sys
def may(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return True
print(json.dumps({
    "write_here": may(lambda: open("mine", "w").close()),
    "write_elsewhere": may(lambda: open(sys.argv[1], "w").close()),
    "make_code": may(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "ask_the_kernel": may(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)),
    "own_as_another": may(lambda: os.chown("mine", 1, 1)),
    "leave_a_door": may(lambda: os.mkdir("door", 0o2755)),
    "read_the_clock_of_others": may(lambda: os.stat("/proc/sys")),
}))
"""


@pytest.fixture
def confined(tmp_path: Path) -> Callable[..., list[str]]:
    """The command that runs another as confined as the unit says, in `host` and `media`."""
    disks.needs_mounts()
    program("systemd-analyze")  # which knows the groups of system calls
    for name in ("host", "media"):
        (tmp_path / name).mkdir()

    def command(*words: str) -> list[str]:
        folders = [str(tmp_path / "host"), str(tmp_path / "media")]
        return [sys.executable, "-m", "tests.deploy.confine", str(UNIT), *folders, "--",
                sys.executable, *words]  # fmt: skip

    return command


def test_the_confinement_holds(confined, tmp_path):
    done = subprocess.run(
        confined("-c", ATTACK, str(tmp_path / "elsewhere")),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert json.loads(done.stdout) == {
        "write_here": True,
        "write_elsewhere": "EROFS",
        "make_code": "EPERM",
        "ask_the_kernel": "EAFNOSUPPORT",
        "own_as_another": "EPERM",
        "leave_a_door": "EPERM",
        "read_the_clock_of_others": "ENOENT",
    }


def test_every_line_of_the_unit_is_known_to_be_tried_or_not():
    assert set(confine.read(UNIT)) == confine.DONE_HERE | confine.NOT_HERE


def test_decoders_can_give_up_their_rights_in_it(confined):
    asked = "from viewer import derive; print(derive.missing_confinement())"
    done = subprocess.run(
        confined("-c", asked), cwd=ROOT, check=True, capture_output=True, text=True
    )  # fmt: skip

    assert done.stdout == "[]\n"


def test_photos_films_and_sounds_come_home_in_it(confined, tmp_path):
    host, port = tmp_path / "host", free_port()
    film = samples.film(tmp_path / "film.mov", "libx265", "mov", voice="aac")
    sound = samples.sound(tmp_path / "sound.amr", "libopencore_amrnb", "amr", rate=8000)
    environment = os.environ | dict.fromkeys(("DATABASE_URL", "REDIS_URL"), "") | {
        "DATA_DIR": str(host), "MEDIA_ROOT": str(tmp_path / "media"), "WORKERS": "1",
        "QUO_WEBHOOK_SECRETS": SECRET, "QUO_NUMBERS": OUR_NUMBER,
        "MEDIA_HOSTS": "127.0.0.1", "MEDIA_ALLOW_LOOPBACK": "1", "PYTHONPATH": str(ROOT),
    }  # fmt: skip

    with Provider() as provider, (tmp_path / "log").open("wb") as log:
        sent = [provider.serve(body) for body in (PHOTO, film.read_bytes(), sound.read_bytes())]
        process = subprocess.Popen(
            confined("-m", "viewer", "up", "--port", str(port)),
            env=environment, cwd=ROOT, stderr=log,
        )  # fmt: skip
        try:
            wait_until(lambda: is_healthy(port), 120)
            body, headers = signed(Message(number=1, media=sent).payload(), "standard", SECRET)
            requests.post(
                f"http://127.0.0.1:{port}/webhooks/quo", data=body, headers=headers, timeout=60
            ).raise_for_status()
            wait_until(lambda: [row[0] for row in rows(host)] == ["made"] * 3, 120)
        finally:
            process.terminate()
            code = process.wait(60)

    said = (tmp_path / "log").read_text()
    assert code == 0, said
    assert "Traceback" not in said
    for _, original, thumbnail, playable in rows(host):
        assert original
        assert thumbnail or playable


def is_healthy(port: int) -> bool:
    try:
        health = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5)
    except requests.RequestException:
        return False
    return health.ok  # not while Redis is silent


def rows(host: Path) -> list[Any]:
    """State of the copies, original, thumbnail and playable copy of each file."""
    with closing(sqlite.connect(host / "viewer.db")) as connection:
        found: list[Any] = connection.execute(
            "SELECT copy_state, file_path, thumbnail_path, playable_path FROM media_attachments"
        ).fetchall()
    return found
