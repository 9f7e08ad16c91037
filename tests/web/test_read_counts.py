"""Downloads, opened links and what programs read are in the audit log, counted by the hour."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support import write_locks
from tests.support.api import api as api
from tests.support.api import user as user
from tests.support.stored_files import keep
from viewer.extensions import db, now
from viewer.models import AuditEntry, Share
from viewer.office import accounts, audit, sharing

LOOKS = ("download", "api.read", "share.view", "share.download")


@pytest.fixture
def counted(app: Flask) -> Callable[[], list[tuple[str, str, int]]]:
    """Action, person and times of what was looked at, also what the process has not written yet."""

    def read() -> list[tuple[str, str, int]]:
        db.session.rollback()
        with app.app_context():
            app.extensions["read_counts"].write()
        query = sa.select(AuditEntry).where(AuditEntry.action.in_(LOOKS)).order_by(AuditEntry.id)
        found = [(one.action, one.who, one.times) for one in db.session.scalars(query)]
        db.session.commit()
        return found

    return read


@pytest.fixture
def link(log_in: Any) -> str:
    """The path of a share link with a photo."""
    log_in("office")
    office = accounts.find_user("office@crack.example")
    assert office is not None
    media = keep(with_copies=True)
    _, token = sharing.create("Wall", [media], sharing.end_of_day(now().date()), office)
    db.session.commit()
    return f"/s/{token}"


def test_each_download_is_counted_and_looking_is_not(client, counted):
    media = keep(with_copies=True)
    for path in ("", "/thumbnail", "/preview"):
        client.get(f"/media/{media.id}{path}")
    before = counted()

    for _ in range(3):
        assert client.get(f"/media/{media.id}?download=1").status_code == 200
    client.head(f"/media/{media.id}?download=1")

    assert before == []
    assert counted() == [("download", "owner@crack.example", 3)]


@pytest.fixture
def refused() -> Callable[[], list[tuple[str, str, int]]]:
    """Person, words and times of what is written of refusals."""

    def read() -> list[tuple[str, str, int]]:
        db.session.rollback()
        query = sa.select(AuditEntry).filter_by(action="access.refused").order_by(AuditEntry.id)
        found = [(one.who, one.words, one.times) for one in db.session.scalars(query)]
        db.session.commit()
        return found

    return read


def test_whoever_is_refused_is_counted_by_route(app, log_in, refused):
    field, nobody = log_in("field"), app.test_client()

    assert field.get("/users").status_code == 403
    at_once = refused()
    assert field.get("/users").status_code == 403
    assert nobody.get("/api/v1/media").status_code == 401
    # Asked to log in, or without such a page: nobody is refused.
    assert nobody.get("/", headers={"Accept": "text/html"}).status_code == 302
    assert nobody.get("/no/such/page").status_code == 404

    assert at_once == [("field@crack.example", "403 GET /users", 1)]
    assert refused() == [
        ("field@crack.example", "403 GET /users", 2),
        (audit.NOBODY, "401 GET /api/v1/media", 1),
    ]


def test_the_first_of_an_hour_is_written_before_a_byte_goes_out(app, client):
    media = keep()

    answer = client.get(f"/media/{media.id}?download=1", buffered=False)
    [entry] = db.session.scalars(sa.select(AuditEntry).filter_by(action="download"))
    db.session.commit()
    answer.close()

    assert (entry.subject_id, entry.times) == (media.id, 1)


@pytest.mark.on_sqlite("counts holds of its write lock")
def test_further_ones_take_no_write_lock(app, client):
    media = keep()
    address = f"/media/{media.id}?download=1"
    client.get(address)

    with write_locks.recording(db.engine) as recorder:
        for _ in range(20):
            client.get(address)

    assert recorder.holds == []


def test_what_a_program_reads_is_counted_by_token(api, user, counted):
    media = keep()
    for _ in range(2):
        api("/media")
    api(f"/media/{media.id}/original")
    api(f"/media/{media.id}/original", headers={"Range": "bytes=0-9"})
    api("/media/nothing")

    assert sorted(counted()) == [
        ("api.read", user.email, 2),
        ("api.read", user.email, 2),
        ("download", user.email, 2),
    ]


def test_what_a_stranger_opens_is_counted_by_link(anonymous, link, counted):
    anonymous.get(link)
    anonymous.get(f"{link}/1")
    anonymous.get(f"{link}/1/picture")
    anonymous.get(f"{link}/1/thumbnail")
    anonymous.head(link)
    for _ in range(2):
        anonymous.get(f"{link}/1/download")
    anonymous.get("/s/wrong")

    assert sorted(counted()) == [
        ("share.download", audit.STRANGER, 2),
        ("share.view", audit.STRANGER, 2),
    ]
    [share] = db.session.scalars(sa.select(Share))
    subjects = sa.select(AuditEntry.subject_id).where(AuditEntry.action.in_(LOOKS))
    assert set(db.session.scalars(subjects)) == {share.id}


def test_who_takes_everything_fills_no_table(client, counted, monkeypatch):
    monkeypatch.setattr(audit, "MOST_SUBJECTS", 3)
    message = keep().message

    for _ in range(8):
        client.get(f"/media/{keep(message=message).id}?download=1")

    assert [times for _, _, times in counted()] == [1, 1, 1, 5]


def test_what_could_not_be_written_is_written_with_the_next(client, counted, monkeypatch):
    media, real = keep(), audit.count

    def fail(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("INSERT", None, Exception("database is locked"))

    monkeypatch.setattr(audit, "count", fail)
    answer = client.get(f"/media/{media.id}?download=1")
    monkeypatch.setattr(audit, "count", real)
    client.get(f"/media/{media.id}?download=1")

    assert answer.status_code == 200
    assert counted() == [("download", "owner@crack.example", 2)]


def test_the_page_says_it_in_words(client, link, anonymous):
    anonymous.get(link)

    page = client.get("/trail").text

    assert "Opened a share link" in page
    assert audit.STRANGER in page
