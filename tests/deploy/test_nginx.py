"""deploy/nginx/viewer.conf, in a real nginx with TLS before a real `viewer web`."""

import json
import os
import re
import socket
import ssl
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.conftest import SECRET
from tests.deploy.conftest import (
    HOST,
    PHOTO,
    Site,
    answers,
)
from tests.payloads import signed
from tests.support.servers import wait_until
from viewer.extensions import db
from viewer.models import MediaAttachment, WebhookEvent

pytestmark = pytest.mark.proof  # whole servers, started and stopped

MIB = 1024 * 1024
UNKNOWN = uuid.uuid4()
# Of the connection or the server. nginx says Accept-Ranges twice, and dates a file by its disk.
OF_THE_WAY = {"Connection", "Date", "Keep-Alive", "Server", "Accept-Ranges", "Last-Modified"}


@dataclass(frozen=True)
class Nginx(Site):
    plain_url: str
    folder: Path  # `media` in it is where nginx finds the store: a link, as a mounted disk


@pytest.fixture
def site(
    photo: MediaAttachment,
    start_nginx: Callable[..., tuple[int, int]],
    start_web: Callable[..., int],
    tmp_path: Path,
) -> Nginx:
    behind, folder = start_web(X_ACCEL_PREFIX="/stored"), tmp_path / "nginx"
    folder.mkdir()
    (folder / "media").symlink_to(tmp_path / "media")
    secure, plain = start_nginx(folder, behind)
    entered = Site.enter(f"https://{HOST}:{secure}")
    return Nginx(entered.url, entered.browser, f"http://127.0.0.1:{plain}", folder)


def headers_of(answer: requests.Response) -> dict[str, str]:
    """What it says of the file, without what it says of the connection."""
    return {name: value for name, value in answer.headers.items() if name not in OF_THE_WAY}


def test_a_file_comes_as_the_viewer_itself_would_send_it(site, photo, start_web):
    behind = f"http://127.0.0.1:{start_web()}"
    wait_until(answers(behind, Host=HOST))
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in site.browser.cookies)
    proxied = {"Host": HOST, "X-Forwarded-Proto": "https", "Cookie": cookies}

    for path in ("/thumbnail", "/preview", "", "?download"):
        for asked in ({}, {"Range": "bytes=100-199"}, {"If-None-Match": "*"}):
            sent = site.get(f"/media/{photo.id}{path}", **asked)
            itself = requests.get(
                f"{behind}/media/{photo.id}{path}", headers=proxied | asked, timeout=60
            )

            assert (sent.status_code, sent.content) == (itself.status_code, itself.content)
            assert headers_of(sent) == headers_of(itself)
            assert set(sent.headers["Accept-Ranges"].split(", ")) == {"bytes"}
            assert "private, max-age=31536000, immutable" in sent.headers["Cache-Control"]


def test_bytes_parts_and_conditions(site, photo):
    address, size, etag = f"/media/{photo.id}", len(PHOTO), f'"{photo.sha256}"'

    whole, part, tail = (
        site.get(address, **asked)
        for asked in ({}, {"Range": "bytes=100-199"}, {"Range": "bytes=-500"})
    )
    beyond = site.get(address, Range=f"bytes={size}-")
    same, other = (
        site.get(address, **{"Range": "bytes=5-9", "If-Range": tag}) for tag in (etag, '"another"')
    )
    known = site.get(address, **{"If-None-Match": etag})
    resumed, refused = (
        site.get(address, **{"Range": "bytes=5-9", "If-Match": tag}) for tag in (etag, '"another"')
    )
    head = site.browser.head(site.url + address, timeout=60)
    inside = site.get(f"/stored/{photo.file_path}")

    assert (whole.status_code, whole.content) == (200, PHOTO)
    assert (part.status_code, part.content) == (206, PHOTO[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{size}"
    assert (tail.status_code, tail.content) == (206, PHOTO[-500:])
    assert (beyond.status_code, known.status_code) == (416, 304)
    assert (same.status_code, same.content) == (206, PHOTO[5:10])
    assert (other.status_code, other.content) == (200, PHOTO)
    assert (resumed.status_code, resumed.content) == (206, PHOTO[5:10])
    assert (refused.status_code, refused.content) == (412, b"")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(size)
    assert inside.status_code == 404  # the store itself has no door
    for answer in (whole, part, tail, head):
        assert answer.headers["ETag"] == etag
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Content-Disposition"].startswith("inline;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox; default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
        assert {"X-Accel-Redirect", "Content-Encoding"}.isdisjoint(answer.headers)


def test_what_is_not_there_is_not_there_for_a_year(site, photo, tmp_path):
    address, stored = f"/media/{photo.id}/thumbnail", tmp_path / "media" / photo.thumbnail_path
    ours, gone = site.folder / "media", tmp_path / "gone"

    def without(present: Path, instead: Path | None = None) -> requests.Response:
        """The answer while this is somewhere else; before and after, it is 200."""
        assert site.get(address).status_code == 200
        present.rename(gone)
        if instead:
            present.symlink_to(instead)
        answer = site.get(address)
        present.unlink(missing_ok=True)
        gone.rename(present)
        assert site.get(address).status_code == 200
        return answer

    not_mounted, removed = without(ours), without(stored)
    closed = without(ours, instead=ours)  # a loop is 403 to nginx, as a folder it may not enter
    unknown = site.get(f"/media/{UNKNOWN}/thumbnail")
    page = site.get(f"/media/{UNKNOWN}/thumbnail", Accept="text/html")
    inside = site.get(f"/stored/{photo.thumbnail_path}")

    assert (not_mounted.status_code, closed.status_code) == (503, 503)
    assert {answer.headers["Retry-After"] for answer in (not_mounted, closed)} == {"60"}
    assert removed.status_code == 425  # it is made again
    assert {answer.status_code for answer in (unknown, page, inside)} == {404}
    for answer in (not_mounted, removed, closed, unknown, page, inside):
        assert "no-store" in answer.headers["Cache-Control"]
        assert "immutable" not in answer.headers["Cache-Control"]
        assert "max-age" not in answer.headers["Cache-Control"]


def test_pages_are_told_how_they_were_reached(site):
    inbox = site.get("/", **{"X-Forwarded-For": "192.0.2.1", "Accept-Encoding": "gzip"})
    style = re.search(r'href="(/static/[^"]+\.css)"', inbox.text)
    plain = requests.get(f"{site.plain_url}/work?x=1", timeout=60, allow_redirects=False)

    assert (inbox.status_code, inbox.headers["Content-Encoding"]) == (200, "gzip")
    assert "no-store" not in inbox.headers["Cache-Control"]
    assert inbox.headers["Strict-Transport-Security"]
    assert style
    assert "immutable" in site.get(style[1]).headers["Cache-Control"]
    assert (plain.status_code, plain.headers["Location"]) == (301, f"{site.url}/work?x=1")


def test_a_webhook_passes_with_its_body_untouched(site, message):
    payload = json.dumps(message(text="Ünïcode\r\n and \t more").payload(), indent=1).encode()
    sent = {}
    for body in (payload, payload.ljust(8 * MIB)):
        _, headers = signed(body, "standard", SECRET)
        answer = requests.post(f"{site.url}/webhooks/quo", data=body, headers=headers, timeout=60)
        sent[headers["webhook-id"]] = body
        assert answer.status_code == 204
    body, headers = signed(payload.ljust(8 * MIB + 1), "standard", SECRET)
    too_large = requests.post(f"{site.url}/webhooks/quo", data=body, headers=headers, timeout=60)
    form = site.browser.post(f"{site.url}/login", data=b"x" * (64 * 1024 + 1), timeout=60)

    kept = {row.delivery_id: row.body for row in db.session.scalars(db.select(WebhookEvent))}
    assert sent.items() <= kept.items()
    assert (too_large.status_code, form.status_code) == (413, 413)


def test_slow_requests_do_not_reach_the_viewer_and_one_address_has_a_bound(
    photo, start_nginx, start_web, tmp_path, message
):
    behind, folder = start_web(X_ACCEL_PREFIX="/stored"), tmp_path / "nginx"
    folder.mkdir()
    (folder / "media").symlink_to(tmp_path / "media")
    secure, _ = start_nginx(
        folder,
        behind,
        ("client_header_timeout 10s", "client_header_timeout 1s"),
        ("viewer_clients 300", "viewer_clients 2"),
    )
    url = f"https://{HOST}:{secure}"
    wait_until(answers(url))

    with ExitStack() as stack:
        slow = [stack.enter_context(tls_connection(secure)) for _ in range(24)]
        for client in slow:
            client.sendall(b"GET / HTTP/1.1\r\n")
        body, headers = signed(message().payload(), "standard", SECRET)
        kept = requests.post(f"{url}/webhooks/quo", data=body, headers=headers, timeout=60)
        ends = [client.recv(1000) for client in slow]
    with ExitStack() as stack:
        busy = [stack.enter_context(tls_connection(secure)) for _ in range(2)]
        for client in busy:  # each is under way until its body has come
            client.sendall(
                f"POST /login HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n".encode()
            )
        wait_until(lambda: requests.get(f"{url}/login", timeout=60).status_code == 429)
    wait_until(answers(url))

    assert kept.status_code == 204
    assert ends == [b""] * 24


def tls_connection(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    plain = socket.create_connection((HOST, port), timeout=60)
    return context.wrap_socket(plain, server_hostname=HOST)
