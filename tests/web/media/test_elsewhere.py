"""MEDIA_REDIRECT: what a page shows comes from the bucket itself, everything else from us."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import time_machine

from tests.support import object_stores
from tests.support.pictures import picture
from tests.support.sounds import tone
from tests.support.stored_files import bucket, keep, keep_only_in, row
from viewer import holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.office import accounts, sharing

PHOTO, SMALL = picture(900, 600, "teal"), picture(48, 32)
SHOWN = {"Sec-Fetch-Dest": "image"}
HOURS = 6


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    ways = {"MEDIA_REDIRECT": True, "SIGNED_WINDOW_HOURS": HOURS}
    return settings | object_stores.SETTINGS | ways


@pytest.fixture
def distant(app, object_store, shared_bucket):
    return bucket(object_store.address(shared_bucket, f"redirect/{uuid.uuid4()}"))


@pytest.fixture
def photo(distant) -> MediaAttachment:
    return keep_only_in(distant, PHOTO, SMALL)


def test_a_browser_that_shows_a_file_is_sent_to_the_bucket(photo, client):
    for path, content in (("", PHOTO), ("/thumbnail", SMALL)):
        answer = client.get(f"/media/{photo.id}{path}", headers=SHOWN)

        assert (answer.status_code, answer.data) == (302, b"")
        there = requests.get(answer.headers["Location"], timeout=30)
        assert (there.status_code, there.content) == (200, content)
        assert there.headers["Content-Type"] == "image/jpeg"
        assert there.headers["Content-Disposition"].startswith("inline; filename=")
        assert there.headers["Cache-Control"] == f"private, max-age={HOURS * 3600}, immutable"
        assert {"Cookie", "Sec-Fetch-Dest"} <= set(answer.headers["Vary"].split(", "))


def test_a_sound_is_sought_in_at_the_bucket(distant, client):
    sound = tone()
    media = keep_only_in(distant, sound, SMALL)

    answer = client.get(
        f"/media/{media.id}/playable", headers={"Sec-Fetch-Dest": "audio", "Range": "bytes=100-199"}
    )
    there = requests.get(answer.headers["Location"], headers={"Range": "bytes=100-199"}, timeout=30)

    assert (there.status_code, there.content) == (206, sound[100:200])


def test_k24_it_leads_to_the_same_place_until_the_window_ends_and_is_kept_no_longer(photo, client):
    start = datetime(2026, 11, 27, 6, tzinfo=UTC)
    # Its size is known from now on: the bucket would refuse us for the clock below.
    assert client.get(f"/media/{photo.id}", headers=SHOWN).status_code == 302

    def asked_at(**after: float) -> Any:
        with time_machine.travel(start + timedelta(**after)):
            return client.get(f"/media/{photo.id}", headers=SHOWN)

    first, last, next_ = asked_at(minutes=1), asked_at(hours=5, minutes=59), asked_at(hours=6)

    assert first.headers["Location"] == last.headers["Location"] != next_.headers["Location"]
    for answer, left in ((first, 359 * 60), (last, 60), (next_, 360 * 60)):
        scope, _, seconds = answer.headers["Cache-Control"].partition(", max-age=")
        assert scope == "private"
        assert left - 10 < int(seconds) < left


def test_what_no_element_of_a_page_shows_comes_from_us(photo, client):
    ours = [
        client.get(f"/media/{photo.id}"),  # a program, an old browser
        client.get(f"/media/{photo.id}", headers={"Sec-Fetch-Dest": "empty"}),  # a script
        client.get(f"/media/{photo.id}", headers={"Sec-Fetch-Dest": "document"}),
        client.get(f"/media/{photo.id}?download", headers=SHOWN),
    ]
    head = client.head(f"/media/{photo.id}", headers=SHOWN)

    assert [(a.status_code, a.data) for a in ours] == [(200, PHOTO)] * len(ours)
    assert (head.status_code, head.content_length) == (200, len(PHOTO))


def test_what_could_be_a_program_comes_from_us(distant, client):
    media = keep_only_in(distant, b"<svg xmlns='http://www.w3.org/2000/svg'/>", SMALL)

    answer = client.get(f"/media/{media.id}", headers=SHOWN)

    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment;")


def test_strangers_are_never_sent_there(photo, anonymous, client):
    owner = accounts.find_user("owner@crack.example")
    _, token = sharing.create("Cracks", [photo], now() + timedelta(days=1), owner)
    db.session.commit()

    share = anonymous.get(f"/s/{token}/1/thumbnail", headers=SHOWN)
    stranger = anonymous.get(f"/media/{photo.id}", headers=SHOWN)

    assert (share.status_code, share.data) == (200, SMALL)
    assert stranger.status_code == 401
    assert "Location" not in stranger.headers


@pytest.mark.on_folder("puts a file on this host's disk")
def test_what_is_on_this_hosts_disk_comes_from_here(client, distant, photo):
    ours = keep(PHOTO)
    photo.former_storage = holdings.own_id()
    path = holdings.own().root / photo.file_path
    path.write_bytes(PHOTO)
    db.session.commit()

    for media in (ours, photo):
        answer = client.get(f"/media/{media.id}", headers=SHOWN)
        assert (answer.status_code, answer.data) == (200, PHOTO)


def test_k27_nobody_is_sent_to_wrong_bytes(photo, client, object_store):
    store = holdings.store(photo.storage)
    name = f"{store._address.prefix}/{photo.file_path}"
    object_store.client.put_object(Bucket=store._address.bucket, Key=name, Body=PHOTO[:-1])

    answer = client.get(f"/media/{photo.id}", headers=SHOWN)

    assert answer.status_code == 410
    assert row(photo.id).state is MediaAttachment.State.DAMAGED


def test_the_policy_names_the_bucket_and_nothing_else(photo, client, object_store, anonymous):
    policy = directives(client.get("/"))

    assert policy["img-src"] == f"'self' {object_store.endpoint} data:"
    assert policy["media-src"] == policy["connect-src"] == f"'self' {object_store.endpoint}"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert (
        policy
        == directives(anonymous.get("/login"))
        == directives(client.get("/service-worker.js"))
    )


class TestBehindCDN:
    @pytest.fixture
    def settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings | {"CDN_URL": "https://media.example.com"}

    def test_a_browser_is_sent_to_the_cdn_with_an_address_of_the_bucket(
        self, photo, client, object_store
    ):
        answer = client.get(f"/media/{photo.id}", headers=SHOWN)

        address = urlsplit(answer.headers["Location"])
        assert (address.scheme, address.netloc) == ("https", "media.example.com")
        # Many share its cache, so it is told that it may keep the file.
        assert parse_qs(address.query)["response-cache-control"] == [
            f"public, max-age={HOURS * 3600}, immutable"
        ]
        at_bucket = f"{object_store.endpoint}{address.path}?{address.query}"
        assert requests.get(at_bucket, timeout=30).content == PHOTO
        assert directives(client.get("/"))["media-src"] == "'self' https://media.example.com"


def directives(answer: Any) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)
