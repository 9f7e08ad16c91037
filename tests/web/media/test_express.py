"""Whole files without Flask: the answers that Flask gives, as long as they are allowed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

from tests.conftest import BOTH
from tests.support.pictures import picture
from viewer import create_app
from viewer.extensions import db, now
from viewer.models import MediaAttachment, User, UserSession

State = MediaAttachment.State
PHOTO = picture(900, 600, "teal")
WHOLE = ("", "/thumbnail", "/preview")
OF_FLASK = {"x": "1"}  # an address with a query is none of the usual ones


@pytest.fixture
def photo(deliver: Any, work: Any, provider: Any, message: Any) -> MediaAttachment:
    """One that came home the whole way."""
    sent = [provider.serve(PHOTO, content_type="image/jpeg")]
    assert deliver(message(media=sent).payload()).status_code == 204
    work()
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    assert media.preview_path
    return media


@contextmanager
def asked() -> Iterator[list[str]]:
    """The statements that come to the database meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, text: str, *_more: Any) -> None:
        seen.append(text)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"X_ACCEL_PREFIX": "/stored"},
        {
            "VIEWER_ENV": "production",
            "MEDIA_ALLOW_LOOPBACK": False,
            "PUBLIC_URL": "https://localhost",
        },
    ],
    ids=["alone", "nginx", "production"],
)
@pytest.mark.on_folder("nginx sends from a folder")
def test_the_answer_is_the_one_that_flask_gives(photo, app, settings, client, path, words):
    other = create_app({**settings, **words})
    browser = browser_like(client, other)
    secure = {"base_url": "https://localhost"}

    express = browser.get(f"/media/{photo.id}{path}", **secure)
    flask = browser.get(f"/media/{photo.id}{path}", query_string=OF_FLASK, **secure)

    assert express.status_code == flask.status_code == 200
    assert sorted(express.headers.items()) == sorted(flask.headers.items())
    assert express.data == flask.data
    assert ("X-Accel-Redirect" in express.headers) == ("X_ACCEL_PREFIX" in words)
    with other.app_context():
        db.engine.dispose()


def browser_like(client: FlaskClient, app: Flask) -> FlaskClient:
    """A browser of another application on the same database, logged in as this one is."""
    with client.session_transaction() as known:
        kept = dict(known)
    signer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert signer is not None
    browser = app.test_client()
    browser.set_cookie(app.config["SESSION_COOKIE_NAME"], str(signer.dumps(kept)))
    return browser


@pytest.mark.parametrize("path", WHOLE)
def test_one_query_answers_and_no_writer_waits(photo, client, path):
    with asked() as statements:
        answer = client.get(f"/media/{photo.id}{path}")

    assert answer.status_code == 200
    [statement] = statements  # and no BEGIN IMMEDIATE
    assert "user_sessions" in statement
    assert "media_attachments" in statement


def log_out(client: Any, _photo: MediaAttachment) -> None:
    assert client.post("/logout").status_code == 303


def remove_the_device(_client: Any, _photo: MediaAttachment) -> None:
    db.session.execute(sa.delete(UserSession))


def disable_the_user(_client: Any, _photo: MediaAttachment) -> None:
    db.session.execute(sa.update(User).values(disabled_at=now()))


def reach_the_last_day(_client: Any, _photo: MediaAttachment) -> None:
    db.session.execute(sa.update(UserSession).values(created_at=now() - timedelta(days=400)))


def leave_it_idle(_client: Any, _photo: MediaAttachment) -> None:
    db.session.execute(sa.update(UserSession).values(seen_at=now() - timedelta(days=300)))


def trash_it(_client: Any, photo: MediaAttachment) -> None:
    photo.state = State.TRASHED


def find_it_damaged(_client: Any, photo: MediaAttachment) -> None:
    photo.state = State.DAMAGED


@BOTH
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (log_out, 401),
        (remove_the_device, 401),
        (disable_the_user, 401),
        (reach_the_last_day, 401),
        (leave_it_idle, 401),
        (trash_it, 404),
        (find_it_damaged, 410),
    ],
)
def test_the_next_request_knows(photo, client, change, status):
    assert client.get(f"/media/{photo.id}").status_code == 200

    change(client, photo)
    db.session.commit()

    assert client.get(f"/media/{photo.id}").status_code == status


def test_a_cookie_that_is_not_ours_opens_nothing(photo, client, app):
    forger = app.test_client()
    cookie = client.get_cookie("viewer")
    assert cookie is not None
    forger.set_cookie("viewer", f"{cookie.value[:-4]}AAAA")
    late = app.test_client()

    assert forger.get(f"/media/{photo.id}/thumbnail").status_code == 401
    assert late.get(f"/media/{photo.id}/thumbnail").status_code == 401


def test_a_signature_has_its_time(photo, client, time_machine_at, app):
    # The row is as if of today: what ends this login is the age of the cookie.
    with time_machine_at(now() + app.permanent_session_lifetime + timedelta(minutes=1)):
        db.session.execute(sa.update(UserSession).values(seen_at=now(), created_at=now()))
        db.session.commit()
        client.entered_at = now()  # do not log in again

        assert client.get(f"/media/{photo.id}/thumbnail").status_code == 401


def test_another_host_is_refused_as_everywhere(photo, client, settings):
    strict = create_app({**settings, "TRUSTED_HOSTS": "photos.example"})
    browser = browser_like(client, strict)

    answer = browser.get(f"/media/{photo.id}/thumbnail", base_url="https://localhost")

    assert answer.status_code == 400
    with strict.app_context():
        db.engine.dispose()


def test_activity_is_noted_by_files_too(photo, client):
    long_ago = now() - timedelta(hours=1)
    db.session.execute(sa.update(UserSession).values(seen_at=long_ago))
    db.session.commit()

    assert client.get(f"/media/{photo.id}/thumbnail").status_code == 200

    db.session.expire_all()
    assert db.session.scalars(sa.select(UserSession.seen_at)).one() > long_ago


@pytest.mark.on_folder("takes the file off its disk")
def test_a_missing_file_is_met_as_everywhere(photo, client, tmp_path):
    (tmp_path / "media" / photo.file_path).unlink()

    answer = client.get(f"/media/{photo.id}")

    assert answer.status_code == 410
    db.session.expire_all()
    assert photo.state is State.DAMAGED
