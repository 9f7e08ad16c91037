"""The files as they are served: the same bytes, in parts if asked, and never as a program."""

import io
import itertools
import os
import re
import uuid
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.http import http_date, parse_options_header

from tests.support import homes
from tests.support.pictures import picture
from tests.support.sounds import tone
from viewer.demo.provider import Answer
from viewer.extensions import db
from viewer.models import MediaAttachment

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("index.html", "<script>alert(1)</script>")
    return out.getvalue()


@pytest.fixture
def stored(
    deliver: Any, work: Any, provider: Any, message: Any
) -> Callable[..., list[MediaAttachment]]:
    """Files that came home, the whole way."""

    def send(*files: tuple[bytes, str]) -> list[MediaAttachment]:
        sent = [{"url": provider.serve(body), "type": declared} for body, declared in files]
        assert deliver(message(media=sent).payload()).status_code == 204
        work()
        rows = db.session.scalars(
            sa.select(MediaAttachment).order_by(MediaAttachment.position)
        ).all()
        assert [(row.state, row.problem) for row in rows] == [(State.STORED, None)] * len(files)
        return list(rows)

    return send


@pytest.fixture
def photo(stored: Callable[..., list[MediaAttachment]]) -> MediaAttachment:
    return stored((PHOTO, "image/jpeg"))[0]


@pytest.fixture
def put(photo: MediaAttachment) -> Callable[..., MediaAttachment]:
    """The photo, in another state."""

    def change(**values: Any) -> MediaAttachment:
        for name, value in values.items():
            setattr(photo, name, value)
        db.session.commit()
        return photo

    return change


PHOTO = picture(900, 600, "teal")
COPIES = ("", "/thumbnail", "/preview")


def is_safe(headers: Any) -> bool:
    """What every answer with somebody's bytes must say."""
    policy = {part.strip() for part in headers["Content-Security-Policy"].split(";")}
    return (
        headers["X-Content-Type-Options"] == "nosniff"
        and {"sandbox", "default-src 'none'"} <= policy
        and not any("script" in part for part in policy)
        and headers["Cross-Origin-Resource-Policy"] == "same-origin"
        and {"private", "immutable"} <= set(headers["Cache-Control"].split(", "))
    )


# --- The bytes -----------------------------------------------------------------------------


def test_the_original_comes_byte_for_byte(photo, client):
    answer = client.get(f"/media/{photo.id}")

    assert answer.data == PHOTO
    assert answer.content_length == len(PHOTO)
    assert answer.mimetype == "image/jpeg"
    assert answer.headers["ETag"] == f'"{photo.sha256}"'
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_sound_plays_from_its_own_bytes(stored, client):
    sound = tone()
    media = stored((sound, "audio/wav"))[0]

    answer = client.get(f"/media/{media.id}/playable", headers={"Range": "bytes=0-1"})

    assert (answer.status_code, answer.data, answer.mimetype) == (206, sound[:2], "audio/wav")


SIZE = len(PHOTO)


def test_a_part_is_exactly_the_part_asked_for(photo, client):
    spans = {
        "bytes=0-0": (0, 1),
        "bytes=100-199": (100, 200),
        "bytes=100-": (100, SIZE),
        f"bytes={SIZE - 1}-": (SIZE - 1, SIZE),
        f"bytes=10-{SIZE + 999}": (10, SIZE),
        "bytes=-1": (SIZE - 1, SIZE),
        "bytes=-500": (SIZE - 500, SIZE),
        f"bytes=-{SIZE + 1}": (0, SIZE),
    }

    answers = {
        wanted: client.get(f"/media/{photo.id}", headers={"Range": wanted}) for wanted in spans
    }

    for wanted, (start, stop) in spans.items():
        answer = answers[wanted]
        assert (answer.status_code, answer.data) == (206, PHOTO[start:stop]), wanted
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
        assert answer.content_length == stop - start
        assert is_safe(answer.headers)


def test_a_part_beyond_the_end_is_416_and_says_the_size(photo, client):
    answers = [
        client.get(f"/media/{photo.id}", headers={"Range": wanted})
        for wanted in (f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}")
    ]

    for answer in answers:
        assert (answer.status_code, answer.data) == (416, b"")
        assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
        assert answer.headers["Cache-Control"] == "no-store"
        assert is_safe({**answer.headers, "Cache-Control": "private, immutable"})


def test_whatever_is_not_one_part_is_the_whole(photo, client):
    many = "bytes=" + "0-," * 1000 + "0-"
    wanted = ("bytes=0-1,5-9", many, "lines=1-2", "bytes=9-2", "bytes=a-b", "bytes=", "x", "")

    answers = [client.get(f"/media/{photo.id}", headers={"Range": one}) for one in wanted]

    assert [(a.status_code, a.data) for a in answers] == [(200, PHOTO)] * len(wanted)


def test_a_range_holds_only_for_the_version_it_was_begun_with(photo, client):
    changed = photo.downloaded_at
    conditions = {
        f'"{photo.sha256}"': 206,
        http_date(changed + timedelta(seconds=1)): 206,
        '"another"': 200,
        f'W/"{photo.sha256}"': 200,
        http_date(changed - timedelta(days=1)): 200,
    }

    answers = {
        condition: client.get(
            f"/media/{photo.id}", headers={"Range": "bytes=5-9", "If-Range": condition}
        )
        for condition in conditions
    }

    assert {condition: answer.status_code for condition, answer in answers.items()} == conditions
    assert {a.data for a in answers.values()} == {PHOTO, PHOTO[5:10]}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("ranged", [False, True])
@pytest.mark.parametrize("copy", ["", "/thumbnail"])
def test_conditions_are_answered_in_the_order_of_the_standard(copy, ranged, method, photo, client):
    """Android's download manager resumes with If-Match: another version must not be appended."""
    address = f"/media/{photo.id}{copy}"
    first = client.get(address)
    etag, changed = first.headers["ETag"], photo.downloaded_at
    before, after = (http_date(changed + timedelta(days=days)) for days in (-1, 1))
    sent = 206 if ranged and method == "GET" else 200
    conditions: list[tuple[dict[str, str], int]] = [
        ({"If-Match": '"another"'}, 412),
        ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Match": etag}, sent),
        ({"If-Match": f'"another", {etag}'}, sent),
        ({"If-Match": "*"}, sent),
        ({"If-Unmodified-Since": before}, 412),
        ({"If-Unmodified-Since": http_date(changed)}, sent),
        ({"If-Unmodified-Since": after}, sent),
        ({"If-Unmodified-Since": "some day"}, sent),
        ({"If-Match": etag, "If-Unmodified-Since": before}, sent),
        ({"If-Match": '"another"', "If-None-Match": etag}, 412),
        ({"If-Match": etag, "If-None-Match": etag}, 304),
        ({"If-None-Match": etag, "If-Modified-Since": before}, 304),
        ({"If-None-Match": '"another"', "If-Modified-Since": after}, sent),
        ({"If-Modified-Since": after}, 304),
        ({"If-Match": '"another"', "If-Range": etag}, 412),
        ({"If-Match": etag, "If-Range": '"another"'}, 200),
    ]
    more = {"Range": "bytes=5-9"} if ranged else {}

    answers = [client.open(address, method=method, headers=one | more) for one, _ in conditions]

    assert [answer.status_code for answer in answers] == [status for _, status in conditions]
    for answer in answers:
        assert answer.headers["ETag"] == etag
        expected = {200: first.data, 206: first.data[5:10]}.get(answer.status_code, b"")
        assert answer.data == (expected if method == "GET" else b"")


def test_a_download_that_broke_off_goes_on_where_it_was(photo, client):
    first = client.get(f"/media/{photo.id}", headers={"Range": "bytes=0-999"})
    etag = first.headers["ETag"]

    rest = client.get(f"/media/{photo.id}", headers={"Range": "bytes=1000-", "If-Range": etag})

    assert first.data + rest.data == PHOTO


def test_what_a_browser_has_is_not_sent_again(photo, client):
    tags = set()
    for copy in COPIES:
        address = f"/media/{photo.id}{copy}"
        first = client.get(address)

        again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
        other = client.get(address, headers={"If-None-Match": '"another"'})

        assert first.headers["ETag"].startswith('"')
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert is_safe(again.headers)
        assert (other.status_code, other.data) == (200, first.data)
        tags.add(first.headers["ETag"])
    assert len(tags) == 3


def test_head_says_what_get_would_and_sends_nothing(photo, client):
    for copy in COPIES:
        got = client.get(f"/media/{photo.id}{copy}")

        answer = client.head(f"/media/{photo.id}{copy}", headers={"Range": "bytes=0-1"})

        assert (answer.status_code, answer.data) == (200, b"")
        assert dict(answer.headers) == dict(got.headers)
        assert answer.content_length == len(got.data)


# --- Never a program -----------------------------------------------------------------------

HOSTILE = {
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    "zip": zipped(),
    "pdf": b"%PDF-1.7\n/JS (app.alert(1))",
    "javascript": b"alert(document.cookie)//",
    "utf-7": b"+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "nobody knows": bytes(range(1, 255)) * 3,
}


def test_what_could_be_a_program_is_only_a_download(stored, client):
    # Declared as what it is, or it would count as a server's apology and not be stored at all.
    declared = {"html": "text/html", "xml": "application/xml"}
    files = stored(*((body, declared.get(name, "x/y")) for name, body in HOSTILE.items()))

    for media, content in zip(files, HOSTILE.values(), strict=True):
        for headers in ({}, {"Range": "bytes=0-"}):
            answer = client.get(f"/media/{media.id}", headers=headers)

            assert answer.data == content
            assert answer.content_type == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment;")
            assert is_safe(answer.headers)


def test_the_type_is_what_the_bytes_are(stored, client):
    lies = [
        (PHOTO, "audio/mpeg", "image/jpeg"),
        (picture(20, 20), "text/html; charset=utf-7", "image/jpeg"),
        (tone(), "image/jpeg", "audio/wav"),
        (b"GIF89a\x01\x00\x01\x00\x80\x00\x00/*", "application/javascript", "image/gif"),
    ]
    files = stored(*((content, declared) for content, declared, _ in lies))

    for media, (content, _, kind) in zip(files, lies, strict=True):
        answer = client.get(f"/media/{media.id}")

        assert (answer.content_type, answer.data) == (kind, content)
        assert answer.headers["Content-Disposition"].startswith("inline;")
        assert is_safe(answer.headers)


def test_every_answer_with_bytes_is_fenced_in(photo, client):
    for copy in COPIES:
        answer = client.get(f"/media/{photo.id}{copy}")

        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        assert is_safe(answer.headers)


def test_no_file_name_breaks_out_of_its_header(deliver, work, client, message, provider):
    names = (
        "a%22.html", "a%0d%0aSet-Cookie:%20x=1", "..%2f..%2fetc%2fpasswd", "gr%C3%B6%C3%9Fe.jpg",
        "x" * 3000, "..", ";x=", "%E2%80%AEgpj.exe", "%00", "'; rm -rf",
    )  # fmt: skip
    numbers = itertools.count()  # else they would be shown as one
    provider.mount(
        "/named/", lambda _request: Answer(200, PHOTO + bytes([next(numbers)]), "image/jpeg")
    )
    deliver(message(media=[f"{provider.url}/named/{name}" for name in names]).payload())
    work()

    found = db.session.scalars(sa.select(MediaAttachment).filter_by(state=State.STORED)).all()

    assert len(found) >= len(names) - 1  # the one with spaces is no address at all
    for one in found:
        answer = client.get(f"/media/{one.id}?download=1")
        assert len(answer.headers.getlist("Content-Disposition")) == 1
        kind, words = parse_options_header(answer.headers["Content-Disposition"])
        assert (kind, set(words)) == ("attachment", {"filename"})
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", words["filename"])
        assert "Set-Cookie" not in answer.headers


def test_a_download_tells_where_it_is_from(photo, client):
    answer = client.get(f"/media/{photo.id}?download=1")

    assert answer.headers["Content-Disposition"] == (
        'attachment; filename="2026-09-21_617-555-0123_1789999999_photo.jpg"'
    )
    assert answer.data == PHOTO


# --- What is not there ---------------------------------------------------------------------


def test_an_unknown_id_is_404(client):
    for name in (uuid.uuid4(), "1", "../1", "-1", "%2e%2e"):
        for copy in (*COPIES, "/playable"):
            assert client.get(f"/media/{name}{copy}").status_code == 404


def test_what_is_not_there_says_why(put, client):
    trouble = "The source answered 404."
    for values, status, words in (
        ({"state": State.PENDING}, 425, "on its way"),
        ({"state": State.DOWNLOADING}, 425, "on its way"),
        (
            {"state": State.NEEDS_ATTENTION, "problem": trouble},
            404,
            f"Not available at the provider. {trouble}",
        ),
        ({"state": State.CLOSED, "problem": trouble}, 404, f"Given up. {trouble}"),
        ({"state": State.DAMAGED}, 410, "damaged"),
        ({"state": State.TRASHED}, 404, "no such file"),
    ):
        media = put(**values)
        for copy in (*COPIES, "/playable"):
            if values["state"] is State.DAMAGED and copy in ("/thumbnail", "/preview"):
                continue  # these are whole: see the test of damaged originals
            line = client.get(f"/media/{media.id}{copy}")
            page = client.get(f"/media/{media.id}{copy}", headers={"Accept": "text/html"})

            assert (line.status_code, page.status_code) == (status, status)
            assert (line.mimetype, page.mimetype) == ("text/plain", "text/html")
            assert words in line.text
            assert words in page.text
            assert "immutable" not in line.headers.get("Cache-Control", "")


def test_a_copy_that_is_not_made_yet_says_so(put, client):
    media = put(copy_state=CopyState.DUE, thumbnail_path=None, preview_path=None)
    due = [client.get(f"/media/{media.id}/{name}") for name in ("thumbnail", "preview")]
    put(copy_state=CopyState.IMPOSSIBLE)

    never = [client.get(f"/media/{media.id}/{name}") for name in ("thumbnail", "preview")]

    assert [(a.status_code, a.text) for a in due] == [
        (425, "The thumbnail is being made.\n"), (425, "The preview is being made.\n")
    ]  # fmt: skip
    assert [(a.status_code, a.text) for a in never] == [
        (404, "There is no thumbnail of this file.\n"),
        (404, "There is no preview of this file.\n"),
    ]
    assert client.get(f"/media/{media.id}").data == PHOTO


@pytest.mark.on_folder("changes or watches the file on its disk")
def test_a_file_that_is_not_what_we_stored_is_410(photo, client, tmp_path, caplog):
    path = tmp_path / "media" / photo.file_path
    (tmp_path / "secret").write_bytes(b"not for you")
    path.unlink()
    answers = [client.get(f"/media/{photo.id}")]
    path.mkdir()
    answers.append(client.get(f"/media/{photo.id}"))
    path.rmdir()
    path.symlink_to(tmp_path / "secret")
    answers.append(client.get(f"/media/{photo.id}"))
    path.unlink()
    os.mkfifo(path)

    answers.append(client.get(f"/media/{photo.id}"))

    words = "The original is damaged. The file is missing from the store.\n"
    assert [(a.status_code, a.text) for a in answers] == [(410, words)] * 4
    assert caplog.text.count(f"media={photo.id} is damaged: missing") == 1
    assert db.session.get_one(MediaAttachment, photo.id, populate_existing=True).is_damaged


# --- Behind nginx --------------------------------------------------------------------------


@pytest.fixture
def accelerated(settings: dict[str, Any], request: pytest.FixtureRequest) -> FlaskClient:
    settings["X_ACCEL_PREFIX"] = "/stored/"
    return request.getfixturevalue("client")


def test_nginx_does_not_judge_what_only_the_viewer_can(accelerated, photo, client):
    for condition in ({"If-Match": f'"{photo.sha256}"'}, {"If-Unmodified-Since": http_date()}):
        answer = client.get(f"/media/{photo.id}", headers={"Range": "bytes=5-9", **condition})

        assert "X-Accel-Redirect" not in answer.headers
        assert (answer.status_code, answer.data) == (206, PHOTO[5:10])


@pytest.mark.on_folder("changes or watches the file on its disk")
def test_nginx_is_told_the_file_and_every_safe_header(accelerated, photo, client):
    paths = (photo.file_path, photo.thumbnail_path, photo.preview_path)
    for copy, path in zip(COPIES, paths, strict=True):
        for headers in ({}, {"Range": "bytes=0-1"}):
            answer = client.get(f"/media/{photo.id}{copy}", headers=headers)

            assert (answer.status_code, answer.data) == (200, b"")
            assert answer.headers["X-Accel-Redirect"] == f"/stored/{path}"
            assert answer.mimetype == "image/jpeg"
            assert answer.headers["Content-Disposition"].startswith("inline;")
            assert "Content-Range" not in answer.headers
            assert "Cache-Control" not in answer.headers  # nginx would also say it with a 404
            assert is_safe(
                {**answer.headers, "Cache-Control": answer.headers["X-Media-Cache-Control"]}
            )


def test_nginx_is_told_nothing_about_what_is_not_to_be_served(accelerated, put, client):
    media = put(state=State.TRASHED)

    assert "X-Accel-Redirect" not in client.get(f"/media/{media.id}").headers


@pytest.mark.on_folder("changes or watches the file on its disk")
def test_the_original_is_never_opened_for_writing(photo, tmp_path):
    path = tmp_path / "media" / photo.file_path

    assert path.stat().st_mode & 0o222 == 0
    with homes.own().open(photo.file_path) as file:
        assert not file.writable()
