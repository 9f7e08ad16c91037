"""nginx fetches files of a bucket by itself: the same answers, and never an error that lasts.

A real nginx with our site, SeaweedFS behind a proxy that counts and fails, two viewers on one
database: one behind nginx, one alone.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.http import http_date

from tests.deploy.conftest import HOST
from tests.support import object_stores
from tests.support.fault_proxy import FaultProxy, frozen, refusal
from tests.support.object_stores import ObjectStore
from tests.support.pictures import picture
from tests.support.servers import serving, wait_until
from tests.support.stored_files import bucket, keep, keep_only_in, place, row
from viewer import create_app, holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment, RegisteredStore
from viewer.office import accounts, sharing

pytestmark = pytest.mark.proof  # real servers

State = MediaAttachment.State
MIB = 1024 * 1024
# Three pieces of what nginx asks for at once.
PHOTO = b"\xff\xd8\xff\xe0" + os.urandom(2 * MIB + 500_000)
SMALL = picture(480, 360)
HTML = b"<!doctype html><script>alert(1)</script>"
CACHING = "private, max-age=31536000, immutable"
# Of the connection or a server; the last two are SeaweedFS's own, and say nothing.
OF_THE_WAY = {
    "Connection", "Date", "Keep-Alive", "Server", "Seaweed-X-Amz-Etag", "Seaweed-X-Amz-Owner"
}  # fmt: skip


@dataclass
class Ways:
    """How a file comes to a browser, and the bucket's proxy."""

    nginx: str
    alone: str
    proxy: FaultProxy
    bucket: str
    prefix: str
    store: RegisteredStore
    objects: ObjectStore
    browser: requests.Session

    def get(
        self, way: str, media: MediaAttachment, path: str = "", method: str = "GET", **asked: str
    ) -> requests.Response:
        """`way`: nginx or alone."""
        return self.browser.request(
            method, f"{getattr(self, way)}/media/{media.id}{path}", headers=asked, timeout=60
        )

    def keep(self, content: bytes, **values: Any) -> MediaAttachment:
        return keep_only_in(self.store, content, SMALL, **values)

    def alter(self, key: str, content: bytes | None) -> None:
        """Somebody else overwrites or deletes the object."""
        name = f"{self.prefix}/{key}"
        if content is None:
            self.objects.client.delete_object(Bucket=self.bucket, Key=name)
        else:
            self.objects.client.put_object(Bucket=self.bucket, Key=name, Body=content)

    @property
    def asked(self) -> int:
        return len(self.proxy.requests)


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS | {"TRUSTED_HOSTS": "localhost,127.0.0.1"}


@pytest.fixture
def ways(
    app: Flask, settings: dict[str, Any], log_in: Any, object_store: ObjectStore,
    shared_bucket: str, start_nginx: Callable[..., tuple[int, int]], tmp_path: Path,
) -> Iterator[Ways]:  # fmt: skip
    folder, prefix = tmp_path / "nginx", f"nginx/{uuid.uuid4()}"
    folder.mkdir()
    (folder / "media").symlink_to(tmp_path / "media")
    behind = {"PROXY_HOPS": 1, "X_ACCEL_PREFIX": "/stored", "X_ACCEL_S3_PREFIX": "/.object"}
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(object_store.port))
        store = bucket(object_store.address(shared_bucket, prefix, proxy.port))
        inner = stack.enter_context(serving(create_app(settings | behind)))
        alone = stack.enter_context(serving(app))
        port, _ = start_nginx(
            folder,
            int(inner.rpartition(":")[2]),
            ("https://$object_server", "http://$object_server"),
            ("s3.eu-central-1.amazonaws.com;", f"127.0.0.1:{proxy.port};"),
        )
        browser = requests.Session()
        cookie = log_in("owner").get_cookie("viewer").value
        browser.headers["Cookie"] = f"viewer={cookie}"
        nginx = f"https://{HOST}:{port}"
        wait_until(lambda: _answers(nginx))
        yield Ways(nginx, alone, proxy, shared_bucket, prefix, store, object_store, browser)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/login", timeout=5).ok
    except requests.RequestException:
        return False


def attention(client: Any) -> set[str]:
    return {alarm["name"] for alarm in client.get("/healthz").json["attention"]}


def told(answer: requests.Response) -> dict[str, str]:
    """What it says of the file. nginx says twice that it takes ranges, or not beside one."""
    said = {name: value for name, value in answer.headers.items() if name.title() not in OF_THE_WAY}
    ranges = said.pop("Accept-Ranges", "bytes")
    assert set(ranges.split(", ")) == {"bytes"}
    if "Cache-Control" in said:  # of an error, both say that it is not to be kept
        said["Cache-Control"] = ", ".join(dict.fromkeys(said["Cache-Control"].split(", ")))
    said.pop("Content-Disposition", None)
    return said


def test_k25_every_request_is_answered_alike_from_folder_and_bucket_by_app_and_nginx(ways):
    moment = now().replace(microsecond=0)
    folder = keep(PHOTO, downloaded_at=moment)
    distant = ways.keep(PHOTO, downloaded_at=moment)
    size, etag, date = len(PHOTO), f'"{folder.sha256}"', http_date(moment)
    table: list[tuple[str, dict[str, str], int, bytes]] = [
        ("GET", {}, 200, PHOTO),
        ("HEAD", {}, 200, b""),
        ("GET", {"Range": "bytes=0-0"}, 206, PHOTO[:1]),
        ("GET", {"Range": f"bytes={MIB - 10}-{MIB + 9}"}, 206, PHOTO[MIB - 10 : MIB + 10]),
        ("GET", {"Range": f"bytes={2 * MIB}-"}, 206, PHOTO[2 * MIB :]),
        ("GET", {"Range": "bytes=-700000"}, 206, PHOTO[-700_000:]),
        ("GET", {"Range": f"bytes=-{size + 1}"}, 206, PHOTO),
        ("GET", {"Range": f"bytes={size - 1}-{size + 999}"}, 206, PHOTO[-1:]),
        ("GET", {"Range": f"bytes={size}-"}, 416, b""),
        ("GET", {"Range": "bytes=5-9", "If-Range": etag}, 206, PHOTO[5:10]),
        ("GET", {"Range": "bytes=5-9", "If-Range": '"another"'}, 200, PHOTO),
        ("GET", {"Range": "bytes=5-9", "If-Range": date}, 206, PHOTO[5:10]),
        ("GET", {"If-None-Match": etag}, 304, b""),
        ("GET", {"If-None-Match": '"another"'}, 200, PHOTO),
        ("GET", {"If-Modified-Since": date}, 304, b""),
        ("GET", {"If-Match": '"another"'}, 412, b""),
        ("GET", {"If-Match": etag, "Range": "bytes=5-9"}, 206, PHOTO[5:10]),
    ]

    for method, asked, status, content in table:
        answers = {
            (way, media is distant): ways.get(way, media, method=method, **asked)
            for way in ("alone", "nginx")
            for media in (folder, distant)
        }

        for which, answer in answers.items():
            assert (answer.status_code, answer.content) == (status, content), (asked, which)
            assert told(answer) == told(answers["alone", False]), (asked, which)
    beyond = ways.get("nginx", distant, "/thumbnail", Range=f"bytes={len(SMALL)}-")
    assert beyond.status_code == 416  # and both say of how many bytes
    assert set(beyond.headers["Content-Range"].split(", ")) == {f"bytes */{len(SMALL)}"}


def test_k23_nobody_is_refused_by_way_of_the_bucket(ways, log_in):
    trashed = ways.keep(PHOTO, state=State.TRASHED)
    media = ways.keep(PHOTO)
    owner = accounts.find_user("owner@crack.example")
    tokens = {}
    for name, days in (("ended", -1), ("open", 1)):
        _, tokens[name] = sharing.create(name, [media], now() + timedelta(days=days), owner)
    db.session.commit()
    field = f"viewer={log_in('field').get_cookie('viewer').value}"
    asked = ways.asked

    answers = [
        requests.get(f"{ways.nginx}/media/{media.id}", timeout=30),
        requests.get(f"{ways.nginx}/media/{media.id}/thumbnail", timeout=30),
        requests.get(
            f"{ways.nginx}/trash/{trashed.id}/thumbnail", headers={"Cookie": field}, timeout=30
        ),
        ways.get("nginx", trashed),
        requests.get(f"{ways.nginx}/s/{tokens['ended']}/1/thumbnail", timeout=30),
        requests.get(f"{ways.nginx}/s/{'x' * 43}/1/thumbnail", timeout=30),
    ]
    refused = ways.asked - asked
    allowed = requests.get(f"{ways.nginx}/s/{tokens['open']}/1/thumbnail", timeout=30)

    assert [answer.status_code for answer in answers] == [401, 401, 403, 404, 410, 404]
    assert refused == 0
    assert (allowed.status_code, allowed.content) == (200, SMALL)
    assert ways.asked == asked + 1
    assert not {"X-Amz-Meta-Sha256", "X-Amz-Request-Id"} & set(allowed.headers)


def test_nothing_of_it_is_asked_twice_and_what_is_kept_is_served_while_the_bucket_is_frozen(
    ways, client
):
    media = ways.keep(PHOTO)
    first = ways.get("nginx", media)
    asked = ways.asked
    ways.proxy.always("GET", frozen)
    ways.proxy.always("HEAD", frozen)

    again = ways.get("nginx", media)
    tail = ways.get("nginx", media, Range="bytes=-5")

    assert first.content == again.content == PHOTO
    assert tail.content == PHOTO[-5:]
    assert ways.asked == asked
    assert "fallback_reads" not in attention(client)
    assert "Cookie" not in {name.title() for one in ways.proxy.requests for name in one.headers}


def test_k22_an_object_that_is_missing_comes_from_the_other_store_and_no_error_is_kept(
    ways, client, caplog
):
    media = ways.keep(PHOTO, former_storage=holdings.own_id())
    place(SMALL, media.thumbnail_path, holdings.spool(), holdings.own())
    gone = ways.keep(PHOTO)
    assert ways.get("nginx", gone, method="HEAD").status_code == 200
    ways.alter(media.thumbnail_path, None)
    ways.alter(gone.file_path, None)
    ways.alter(gone.thumbnail_path, None)

    fallback = ways.get("nginx", media, "/thumbnail")
    tail = ways.get("nginx", gone, Range=f"bytes={2 * MIB}-")
    remade = ways.get("nginx", gone, "/thumbnail")

    assert (fallback.status_code, fallback.content) == (200, SMALL)
    assert fallback.headers["Cache-Control"] == CACHING
    assert fallback.headers["Content-Type"] == "image/jpeg"
    assert f"media={media.id} did not come by nginx, which met 404" in caplog.text
    assert f"media={media.id} is read from its former store" in caplog.text
    assert (tail.status_code, row(gone.id).state) == (410, State.DAMAGED)
    assert remade.status_code in (410, 425)
    for answer in (tail, remade):
        assert answer.headers["Cache-Control"] == "no-store"
        assert ways.bucket not in answer.text
    wait_until(lambda: "fallback_reads" in attention(client))


def test_whatever_the_bucket_tells_nginx_the_viewer_answers(ways):
    media = ways.keep(PHOTO)
    part = {"Range": f"bytes={MIB}-{MIB + 4}"}
    itself = ways.get("alone", media, **part)
    assert ways.get("nginx", media, method="HEAD").status_code == 200
    for status in (301, 403, 429, 500, 503):
        ways.proxy.plan("GET", refusal(status, "AsPlanned"))

        answer = ways.get("nginx", media, **part)

        assert (answer.status_code, answer.content) == (206, PHOTO[MIB : MIB + 5])
        assert told(answer) == told(itself)


def test_a_later_piece_that_fails_breaks_off_and_brings_no_wrong_bytes(ways):
    media = ways.keep(PHOTO)
    assert ways.get("nginx", media, Range="bytes=0-9").status_code == 206  # its first piece is kept
    ways.proxy.plan("GET", refusal(503, "SlowDown"))

    received = bytearray()
    with pytest.raises(requests.RequestException):
        read_on(ways.browser, f"{ways.nginx}/media/{media.id}", received)
    rest = ways.get("nginx", media, Range=f"bytes={len(received)}-")

    assert len(received) < len(PHOTO)
    assert received + rest.content == PHOTO


def read_on(browser: requests.Session, url: str, received: bytearray) -> None:
    with browser.get(url, stream=True, timeout=30) as answer:
        for piece in answer.iter_content(4096):
            received.extend(piece)


def test_k26_what_could_be_a_program_is_a_download_from_the_bucket_too(ways):
    media = ways.keep(HTML, mime_type="text/html")
    for way in ("nginx", "alone"):
        for asked in ({}, {"Range": "bytes=0-"}):
            answer = ways.get(way, media, **asked)

            assert answer.content == HTML
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment;")
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "sandbox; default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_k27_an_object_of_another_size_is_not_served_and_its_row_says_so(ways):
    for way in ("nginx", "alone"):
        media = ways.keep(PHOTO)
        ways.alter(media.file_path, PHOTO[:-1])

        answer = ways.get(way, media)

        assert answer.status_code == 410
        assert answer.headers.get("Cache-Control", "no-store") == "no-store"
        assert row(media.id).state is State.DAMAGED


def test_no_client_says_what_nginx_met_nor_asks_the_bucket_past_the_viewer(ways, client):
    media = ways.keep(PHOTO)
    asked = ways.asked

    answer = ways.get("nginx", media, "/thumbnail", **{"X-Object-Failed": "200 : 404"})
    inside = [
        ways.browser.get(f"{ways.nginx}/.object/{path}", timeout=30)
        for path in (f"{ways.bucket}/{ways.prefix}/{media.file_path}", "", "..%2fstored/x")
    ]
    direct = ways.get("alone", media, "/thumbnail", **{"X-Object-Failed": "404"})

    assert (answer.content, direct.content) == (SMALL, SMALL)
    assert ways.proxy.requests[asked].headers.get("x-object-failed") is None
    assert [one.status_code for one in inside] == [404, 404, 404]
    assert "fallback_reads" not in attention(client)
    assert "X-Accel-Redirect" not in answer.headers
