"""The files of deploy/, before a real viewer in processes of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from tests.support import staff
from tests.support.pictures import picture
from tests.support.servers import free_port, free_ports, wait_until
from tests.support.sites import certify, replaced
from viewer.extensions import db
from viewer.models import MediaAttachment

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HOST = "localhost"  # what the tests call viewer.example.com
PHOTO = picture(1200, 900)


# What /etc/nginx/nginx.conf of a distribution says around the sites.
AROUND = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
  access_log off; include /etc/nginx/mime.types; default_type application/octet-stream;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/site.conf;
}}
"""


def program(name: str) -> str:
    """Where this program is. Without it the test is skipped; CI has it and skips nothing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed; CI has it")
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a program that ends with the test; what it says goes to a log."""
    with ExitStack() as stack:

        def launch(*command: str, **words: Any) -> subprocess.Popen[bytes]:
            log = stack.enter_context((tmp_path / f"{Path(command[0]).name}.log").open("ab"))
            process = subprocess.Popen(command, stdout=log, stderr=log, **words)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        yield launch


@pytest.fixture
def environment(app: Flask, settings: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    """Of a production host, over database and folder of the application here; an owner is hired."""
    ours = {
        "VIEWER_ENV": "production",
        "MEDIA_ALLOW_LOOPBACK": "",
        "PROXY_HOPS": "1",
        "PUBLIC_URL": f"https://{HOST}",
        "TRUSTED_HOSTS": HOST,
        "PYTHONPATH": str(ROOT),
    }
    made = os.environ | {name: str(value) for name, value in settings.items()} | ours
    staff.hire(made, cwd=tmp_path)
    return made


@pytest.fixture
def photo(
    environment: object, deliver: Any, work: Any, provider: Any, message: Any
) -> MediaAttachment:
    """One that came home the whole way."""
    deliver(message(media=[provider.serve(PHOTO, content_type="image/jpeg")]).payload())
    work()
    [media] = db.session.scalars(db.select(MediaAttachment))
    db.session.expunge(media)  # whoever reads it locks no database that others write to
    db.session.rollback()
    return media


@pytest.fixture
def start_web(
    environment: dict[str, str], start: Callable[..., Any], tmp_path: Path
) -> Callable[..., int]:
    """Start `viewer web` with these settings; its port."""

    def launch(**words: str) -> int:
        port = free_port()
        start(
            sys.executable, "-m", "viewer", "web", "--port", str(port),
            env=environment | words, cwd=tmp_path,
        )  # fmt: skip
        return port

    return launch


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with certificate and key of our host, which `requests` trusts."""
    made = certify(tmp_path, HOST, program("openssl"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made))
    return tmp_path


def answers(url: str, **headers: str) -> Callable[[], bool]:
    """Whether a viewer does, there."""

    def ask() -> bool:
        try:
            return requests.get(f"{url}/login", headers=headers, timeout=5).ok
        except requests.RequestException:
            return False

    return ask


@dataclass(frozen=True)
class Site:
    """A proxy before a viewer, and a browser in which the owner has logged in through it."""

    url: str
    browser: requests.Session

    @classmethod
    def enter(cls, url: str) -> "Site":
        wait_until(answers(url))
        return cls(url, staff.enter(url))

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.browser.get(self.url + path, headers=headers, timeout=60)


@pytest.fixture
def start_site(start: Callable[..., Any], certificate: Path) -> Callable[..., int]:
    """start_site(folder, "viewer.conf", ("known", "ours"), …): one of our sites in an nginx.

    Its folder of this name. Returns its port with TLS.
    """

    def launch(folder: Path, name: str, *pairs: tuple[str, str]) -> int:
        nginx, (secure, spare) = program("nginx"), free_ports(2)
        known = re.search(r"server_name (\S+);", (DEPLOY / "nginx" / name).read_text())
        assert known
        written = replaced(
            (DEPLOY / "nginx" / name).read_text(),
            *pairs,
            ("listen 443 ", f"listen 127.0.0.1:{secure} "),
            ("listen [::]:443 ", f"listen 127.0.0.1:{spare} "),
            (f"/etc/letsencrypt/live/{known[1]}", str(certificate)),
            ("/var/cache", str(folder)),
        )
        # Where it leads to itself, it names the port as well.
        written = written.replace(
            f"return 301 https://{known[1]}", f"return 301 https://{HOST}:{secure}"
        )
        written = written.replace(known[1], HOST)
        (folder / "site.conf").write_text(written)
        (folder / "nginx.conf").write_text(
            AROUND.format(folder=folder, user="user root;" if os.getuid() == 0 else "")
        )
        command = [nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert tested.returncode == 0, tested.stderr
        assert "[warn]" not in tested.stderr
        start(*command)
        return secure

    return launch


@pytest.fixture
def start_nginx(start_site: Callable[..., int]) -> Callable[..., tuple[int, int]]:
    """start_nginx(folder, behind, ("known", "ours"), …): our site before the viewer on this port.

    `media` in the folder is where it looks for the store. Returns its ports, with TLS and without.
    """

    def launch(folder: Path, behind: int, *pairs: tuple[str, str]) -> tuple[int, int]:
        plain, spare = free_ports(2)
        secure = start_site(
            folder,
            "viewer.conf",
            *pairs,
            ("server 127.0.0.1:8000", f"server 127.0.0.1:{behind}"),
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen [::]:80;", f"listen 127.0.0.1:{spare};"),
            ("/srv/viewer/media", str(folder / "media")),
        )
        return secure, plain

    return launch
