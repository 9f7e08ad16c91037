"""Links lead to PUBLIC_URL, never to the host that a request names; other hosts get no page."""

import contextvars
import re

import pytest

from tests.payloads import signed
from tests.support.stored_files import keep
from tests.support.webhooks import SECRET
from viewer import create_app
from viewer.extensions import db
from viewer.models import WebhookEvent

EVIL = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
PRODUCTION = {"VIEWER_ENV": "production", "MEDIA_ALLOW_LOOPBACK": False}
PUBLIC = {"PUBLIC_URL": "https://photos.example"}


def ask(app, method, path, **words):
    return contextvars.Context().run(app.test_client().open, path, method=method, **words)


@pytest.mark.parametrize("path", ["/", "/login", "/healthz", "/nowhere", "/api/v1/media"])
@pytest.mark.parametrize("more", [PRODUCTION, PUBLIC, PRODUCTION | PUBLIC])
def test_a_host_that_nobody_named_gets_no_page_but_advice(more, path, settings, app):
    ours = create_app(settings | more)

    answer = ask(ours, "GET", path, headers=EVIL, environ_overrides={"REMOTE_ADDR": "203.0.113.7"})

    assert answer.status_code == 400
    assert "set PUBLIC_URL" in answer.text
    assert "evil.example" not in answer.text + str(answer.headers)
    assert "photos.example" not in answer.text
    ours_by_name = ["photos.example"] if "PUBLIC_URL" in more else []
    for host in ("127.0.0.1:8000", "localhost", *ours_by_name):
        assert ask(ours, "GET", "/login", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("more", [PRODUCTION, PUBLIC, PRODUCTION | PUBLIC])
def test_a_delivery_is_taken_under_any_name(more, settings, app, message):
    """What is lost for want of a setting is lost for good."""
    body, headers = signed(message().payload(), "standard", SECRET)

    answer = ask(
        create_app(settings | more), "POST", "/webhooks/quo", data=body, headers=headers | EVIL
    )

    assert answer.status_code == 204
    assert db.session.query(WebhookEvent).count() == 1


def under(client, host):
    """The same login under another name."""
    cookie = client.get_cookie(client.application.config["SESSION_COOKIE_NAME"])
    client.set_cookie(cookie.key, cookie.value, domain=host.partition(":")[0])
    return {"Host": host, "X-Forwarded-Host": host}


def invite(client, host):
    form = {"email": "fay@crack.example", "role": "field"}
    return client.post("/users", data=form, headers=under(client, host)).text


@pytest.mark.parametrize("host", ["evil.example", "viewer.test", "192.168.1.20:8000"])
def test_an_invitation_follows_no_host_header(host, client):
    """In development any host is answered: a phone in the house may look at the pages."""
    page = invite(client, host)

    assert host not in page
    assert "/invitations/" not in page.replace('action="/users', "")
    assert "The invitation link cannot be shown" in page
    assert "PUBLIC_URL" in page


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000"])
def test_on_this_machine_alone_an_invitation_leads_to_it(host, client):
    page = invite(client, host)

    assert re.search(rf'value="http://{re.escape(host)}/invitations/[\w-]{{43}}"', page)


def make_share(client, media):
    form = {"title": "Wall", "lasts": "30", "until": "", "passphrase": "", "media": str(media.id)}
    return client.post("/shares", data=form).location


def test_a_share_link_waits_for_the_public_address(client, settings):
    page = make_share(client, keep())

    evil = under(client, "evil.example")
    forged = client.get(page, headers=evil).text
    known = client.application.config["SETTINGS"].model_copy(update=PUBLIC)
    client.application.config["SETTINGS"] = known
    shown = client.get(page, headers=under(client, "photos.example")).text
    again = client.get(page, headers={"Host": "photos.example"}).text

    assert "The link cannot be shown yet" in forged
    assert "PUBLIC_URL" in forged
    assert "/s/" not in forged
    assert "evil.example" not in forged
    assert re.search(r"https://photos\.example/s/[\w-]{43,}", shown)
    assert "shown once" in again


def test_the_api_and_the_inbox_follow_no_host_header(api, app, client):
    media = keep()

    told = api(f"/media/{media.id}", headers=EVIL).json
    inbox = client.get("/", headers=under(client, "evil.example")).text

    assert told["page_url"] == f"/media/{media.id}/passport"
    assert told["original_url"].startswith("/api/v1/media/")
    assert "evil.example" not in inbox
    assert "Inbox" in inbox


@pytest.mark.parametrize(
    ("more", "name", "is_secure"),
    [
        (PRODUCTION, "viewer=", False),  # for a loopback name: it never leaves this machine
        (PRODUCTION | PUBLIC, "__Host-viewer=", True),
        ({}, "viewer=", False),
    ],
)
def test_before_there_is_a_public_address_the_login_works_over_plain_http(
    more, name, is_secure, settings, app
):
    answer = ask(create_app(settings | more), "GET", "/login", headers={"Host": "127.0.0.1:8000"})

    [cookie] = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith(name)
    assert ("Secure" in cookie) is is_secure
