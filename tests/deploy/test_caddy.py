"""deploy/caddy/Caddyfile, in a real Caddy with TLS before a real `viewer web`."""

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import SECRET
from tests.deploy.conftest import DEPLOY, HOST, PHOTO, Site, program
from tests.payloads import signed
from tests.support.servers import free_port, wait_until
from tests.support.sites import replaced
from viewer.extensions import db
from viewer.models import MediaAttachment, WebhookEvent

pytestmark = pytest.mark.proof  # whole servers, started and stopped

FILE = DEPLOY / "caddy" / "Caddyfile"
MIB = 1024 * 1024

# What a machine's own Caddyfile says for all its sites: here no port 80, and no trust store.
OF_THE_MACHINE = """{
	admin off
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
	local_certs
	servers {"""


@pytest.fixture
def site(
    photo: MediaAttachment,
    start: Callable[..., Any],
    start_web: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    caddy, behind, secure = program("caddy"), start_web(), free_port()
    folder = tmp_path / "caddy"
    folder.mkdir()
    (folder / "Caddyfile").write_text(
        replaced(
            FILE.read_text(),
            ("{\n\tservers {", OF_THE_MACHINE),
            ("viewer.example.com {", f"{HOST}:{secure} {{"),
            ("reverse_proxy 127.0.0.1:8000", f"reverse_proxy 127.0.0.1:{behind}"),
        )
    )
    start(
        caddy, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile"),
        env=os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )  # fmt: skip
    authority = folder / "caddy/pki/authorities/local/root.crt"
    wait_until(authority.exists)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    return Site.enter(f"https://{HOST}:{secure}")


def early_status(url: str, body: bytes, headers: dict[str, str]) -> int | None:
    """The status with which a body is refused before it is sent whole; None if it is not refused.

    Send small pieces, and look for the answer after each: Caddy answers with the next piece and
    closes the connection half a second later. A client that is still sending then gets a reset,
    and may lose the answer.
    """
    there = urlsplit(url)
    head = [f"POST {there.path} HTTP/1.1", f"Host: {there.netloc}", f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    trusted = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    with (
        socket.create_connection((there.hostname, there.port), timeout=60) as bare,
        trusted.wrap_socket(bare, server_hostname=there.hostname) as connection,
    ):
        connection.settimeout(0.2)
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        for start in range(0, len(body), 8192):
            connection.sendall(body[start : start + 8192])
            with contextlib.suppress(TimeoutError):
                return int(connection.recv(8192).split()[1])
    return None


def test_caddy_understands_the_site_as_it_is(tmp_path):
    found = subprocess.run(
        [program("caddy"), "validate", "--adapter", "caddyfile", "--config", str(FILE)],
        env=os.environ | {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip

    assert found.returncode == 0, found.stderr
    assert "Valid configuration" in found.stdout + found.stderr
    assert '"level":"warn"' not in found.stderr  # such as: is not formatted as Caddy does


def test_photos_pages_and_webhooks_pass_through_it(site, photo, message):
    thumbnail = site.get(f"/media/{photo.id}/thumbnail")
    part = site.get(f"/media/{photo.id}", Range="bytes=100-199")
    known = site.get(f"/media/{photo.id}", **{"If-None-Match": f'"{photo.sha256}"'})
    inbox = site.get("/", **{"X-Forwarded-Host": "elsewhere.example"})
    body, passed = signed(message(text="more").payload(), "standard", SECRET)
    delivery = requests.post(f"{site.url}/webhooks/quo", data=body, headers=passed, timeout=60)
    large, headers = signed(body.ljust(8 * MIB + 1), "standard", SECRET)
    refused = early_status(f"{site.url}/webhooks/quo", large, headers)

    assert (thumbnail.status_code, thumbnail.headers["Content-Type"]) == (200, "image/jpeg")
    assert thumbnail.content[:2] == b"\xff\xd8"
    assert "immutable" in thumbnail.headers["Cache-Control"]
    assert (part.status_code, part.content) == (206, PHOTO[100:200])
    assert known.status_code == 304
    assert (inbox.status_code, delivery.status_code) == (200, 204)
    assert inbox.headers["Strict-Transport-Security"]  # it knows that it is reached over https
    assert refused in (413, 502)  # the viewer's, or Caddy's where it notices first
    kept = {row.delivery_id for row in db.session.scalars(db.select(WebhookEvent))}
    assert passed["webhook-id"] in kept
    assert headers["webhook-id"] not in kept
