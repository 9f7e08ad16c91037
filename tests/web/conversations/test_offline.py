"""On a bad link, from the server's side: what is not sent twice, and what may be kept."""

import io
import json
import re
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from tests.support.factories import NOW, customer, photos, text, voicemail
from viewer.demo import drawing
from viewer.extensions import db
from viewer.models import Conversation, User, UserSession
from viewer.office import accounts
from viewer.web.conversations import offline

PAGES = ("/", "/photos", "/unfiled", "/status", "/account", "/offline")


def again(client: Any, address: str, etag: str) -> Any:
    return client.get(address, headers={"If-None-Match": etag})


# --- A second visit ------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["identity", "gzip", "br"])
def test_a_page_that_says_nothing_new_is_not_sent_again(client, coding):
    conversation = customer(name="Dana Whitfield")
    photos(conversation, 2)
    for address in (*PAGES, f"/conversations/{conversation.id}"):
        client.get(address)  # what was new is read by looking at it
        first = client.get(address, headers={"Accept-Encoding": coding})

        second = client.get(
            address,
            headers={"Accept-Encoding": coding, "If-None-Match": first.headers["ETag"]},
        )

        assert (first.status_code, second.status_code, second.data) == (200, 304, b""), address
        assert first.headers["Cache-Control"] == "private, no-cache"
        assert "Set-Cookie" not in second.headers
        assert "Content-Security-Policy" in second.headers


def test_the_form_token_of_a_page_that_was_not_sent_again_still_counts(client):
    photos(customer())
    first = client.get("/unfiled")
    token = re.search(r'name="csrf_token" value="([^"]+)"', first.text)[1]
    assert again(client, "/unfiled", first.headers["ETag"]).status_code == 304
    client.form_token = token

    assert client.post("/photos/zip", data={}).status_code == 303


def test_what_is_new_is_sent(client):
    conversation = customer()
    etag = client.get("/photos").headers["ETag"]
    photos(conversation)

    answer = again(client, "/photos", etag)

    assert answer.status_code == 200
    assert answer.headers["ETag"] != etag


def test_another_login_never_gets_an_earlier_ones_page(client, log_in):
    etag = client.get("/photos").headers["ETag"]

    same_person, other = log_in("owner"), log_in("office")

    # Its form token would not count any more.
    assert again(same_person, "/photos", etag).status_code == 200
    assert again(other, "/photos", etag).status_code == 200


def test_errors_and_answers_to_forms_have_no_version(client):
    assert "ETag" not in client.get("/photos?kind=x", headers={"Accept": "text/html"}).headers
    assert "ETag" not in client.get("/photos?before=x").headers
    assert "ETag" not in client.post("/login", data={"email": "x"}).headers


def test_head_knows_the_version_too(client):
    etag = client.get("/photos").headers["ETag"]

    assert client.head("/photos").headers["ETag"] == etag


def test_the_one_stylesheet_has_everything_in_it(client):
    address = re.search(r'rel="stylesheet" href="([^"]+)"', client.get("/photos").text)[1]

    answer = client.get(address)

    assert "@import" not in answer.text  # between rules it would count for nothing
    assert ".tabs__link" in answer.text
    assert ".lightbox" in answer.text
    assert "immutable" in answer.headers["Cache-Control"]


# --- Packs ---------------------------------------------------------------------------------


def fetched(browser, address: str) -> bytes:
    """A static file, whole; its answer is closed."""
    with closing(browser.get(address)) as answer:
        assert answer.status_code == 200
        return answer.data


def test_a_pack_names_what_is_looked_at_and_listened_to(client):
    dana = customer(name="Dana Whitfield")
    photo, waiting = photos(dana, 2)
    photo.thumbnail_path, photo.preview_path = "a.jpg", "b.jpg"
    photo.width, photo.height = 4000, 3000
    said = voicemail(dana)
    said.playable_path = "c.m4a"
    photos(customer("+16175550124"), 1)
    db.session.commit()

    answer = client.get(f"/conversations/{dana.id}/pack")
    told = answer.json

    assert told["title"] == "Dana Whitfield"
    assert told["page"] == f"/conversations/{dana.id}"
    assert set(told["files"]) == {
        f"/media/{photo.id}/thumbnail",
        f"/media/{photo.id}/preview",
        f"/media/{said.id}/playable",
    }
    assert not any(str(waiting.id) in one for one in told["files"])
    assert 600_000 < told["size"] < 1_000_000
    assert "no-store" in answer.headers["Cache-Control"]
    assert all(fetched(client, one) for one in told["programs"])


@pytest.mark.proof
def test_an_estimate_is_near_what_it_becomes(deliver, work, client, provider, message):
    drawn = [
        drawing.encode(drawing.crack_photo(seed, size=(1600, 1200)), "JPEG", 1, seed=seed)
        for seed in range(2)
    ]
    deliver(message(media=[provider.serve(one) for one in drawn]).payload())
    work()
    conversation = db.session.scalars(sa.select(Conversation)).one()

    told = client.get(f"/conversations/{conversation.id}/pack").json
    real = sum(len(client.get(one).data) for one in told["files"])

    assert len(told["files"]) == 4
    assert 0.5 < told["size"] / real < 2


def test_a_pack_of_a_long_conversation_has_its_end(client, monkeypatch):
    monkeypatch.setattr(offline, "MESSAGES", 3)
    dana = customer()
    sent = [photos(dana, 1, NOW - timedelta(hours=n))[0] for n in range(5)]
    for one in sent:
        one.thumbnail_path = f"{one.id}.jpg"
    db.session.commit()

    told = client.get(f"/conversations/{dana.id}/pack").json

    assert told["files"] == [f"/media/{one.id}/thumbnail" for one in sent[:3]]


def test_a_pack_of_nothing_is_not_found(client):
    assert client.get(f"/conversations/{customer().id}/pack").json["files"] == []
    assert client.get("/conversations/00000000-0000-0000-0000-000000000000/pack").status_code == 404


def test_the_worker_stands_above_all_pages_and_is_never_old(anonymous):
    answer = anonymous.get("/service-worker.js")

    assert answer.status_code == 200
    assert answer.mimetype == "text/javascript"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "Set-Cookie" not in answer.headers


def test_a_conversation_offers_to_be_kept(client):
    dana = customer()
    text(dana)

    page = client.get(f"/conversations/{dana.id}").text

    assert f'data-pack="/conversations/{dana.id}/pack"' in page


# --- What was kept ends with the login -----------------------------------------------------


def test_what_was_kept_is_wiped_at_logout_and_at_the_next_login(client, anonymous, app):
    accounts.add(
        "dana@crack.example", User.Role.FIELD, "D", accounts.hash_password("a crack in the wall")
    )
    db.session.commit()
    out = client.post("/logout")
    token = re.search(r'name="csrf_token" value="([^"]+)"', anonymous.get("/login").text)[1]

    into = anonymous.post(
        "/login",
        data={
            "email": "dana@crack.example",
            "password": "a crack in the wall",
            "csrf_token": token,
        },
    )

    assert '"storage"' in out.headers["Clear-Site-Data"]
    assert into.status_code == 303
    assert '"storage"' in into.headers["Clear-Site-Data"]


def test_what_was_kept_is_wiped_when_the_login_has_ended(client, anonymous):
    client.get("/photos")
    db.session.execute(sa.delete(UserSession))
    db.session.commit()

    ended = client.get("/photos", headers={"Accept": "text/html"})
    never = anonymous.get("/photos", headers={"Accept": "text/html"})

    assert (ended.status_code, never.status_code) == (302, 302)
    assert ended.headers["Clear-Site-Data"] == '"storage"'
    assert "Clear-Site-Data" not in never.headers


def test_only_pages_of_the_door_say_that_nobody_is_logged_in(client, anonymous):
    wanted = {"Accept": "text/html"}
    user = db.session.scalars(sa.select(User)).one()

    assert 'name="viewer-user" content=""' in anonymous.get("/login").text
    assert f'name="viewer-user" content="{user.id.hex[:12]}"' in client.get("/photos").text
    # An error must not make a device forget.
    assert 'name="viewer-user" content=""' not in client.get("/nowhere", headers=wanted).text


# --- Installed -----------------------------------------------------------------------------


def test_a_phone_can_install_it(anonymous):
    page = anonymous.get("/login").text
    address = re.search(r'rel="manifest" href="([^"]+)"', page)[1]

    answer = anonymous.get(address)
    told = json.loads(answer.text)

    assert answer.mimetype == "application/manifest+json"
    assert (told["start_url"], told["display"]) == ("/", "standalone")
    assert {icon["purpose"] for icon in told["icons"]} == {"any", "maskable"}
    assert {icon["sizes"] for icon in told["icons"]} == {"192x192", "512x512"}
    for icon in told["icons"]:
        with Image.open(io.BytesIO(fetched(anonymous, icon["src"]))) as drawn:
            assert f"{drawn.width}x{drawn.height}" == icon["sizes"]
    touch = re.search(r'rel="apple-touch-icon" href="([^"]+)"', page)[1]
    with Image.open(io.BytesIO(fetched(anonymous, touch))) as drawn:
        assert drawn.size == (180, 180)
    assert again(anonymous, address, answer.headers["ETag"]).status_code == 304
