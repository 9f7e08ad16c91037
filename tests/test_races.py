"""Two people, or a person and a job, change one row at once: no act is undone by an older look.

The slower has read the row and is about to write it when the quicker comes in between and commits.
Where the slower holds a lock by then (on SQLite always), the quicker comes after it.
"""

import contextlib
import functools
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask

from tests.conftest import BOTH
from tests.support import factories
from tests.support.interleaving import interleave
from tests.support.stored_files import keep
from viewer import commands
from viewer.extensions import db
from viewer.intake import ingest
from viewer.models import (
    ApiToken,
    AuditEntry,
    Invitation,
    MediaAttachment,
    MediaLink,
    User,
    WebhookEvent,
)
from viewer.office import accounts, filing, trash

pytestmark = BOTH

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState
WAITS = {
    "state": State.NEEDS_ATTENTION,
    "downloaded_at": None,
    "openphone_url": "https://files.example.com/1",
}


@pytest.fixture
def anna(app: Flask) -> User:
    user = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    db.session.commit()
    return user


@pytest.fixture
def omar(anna: User) -> User:
    user = accounts.add("omar@crack.example", User.Role.OFFICE, "Omar")
    db.session.commit()
    return user


@pytest.fixture
def race(app: Flask) -> Callable[..., None]:
    return functools.partial(interleave, app)


@pytest.fixture
def say(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a command, as in a shell of this host."""
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def run(*words: str) -> None:
        CliRunner().invoke(commands.viewer, words, catch_exceptions=False)

    return run


def put_away(media_id: uuid.UUID) -> None:
    anna = accounts.find_user("anna@crack.example")
    assert anna is not None
    with contextlib.suppress(trash.Refused):  # it came second, and the file is on its way again
        trash.trash(db.session.get_one(MediaAttachment, media_id), anna)
        db.session.commit()


def fresh(row: Any) -> Any:
    db.session.rollback()
    db.session.expire_all()
    return db.session.get_one(type(row), row.id)


def count(model: type[Any], **values: Any) -> int:
    db.session.rollback()
    query = sa.select(sa.func.count()).select_from(model).filter_by(**values)
    return db.session.scalar(query) or 0


# --- Files ---------------------------------------------------------------------------------


def test_a_retry_does_not_undo_a_trash(anna, race, log_in):
    media, office = keep(**WAITS), log_in("office")

    race(
        lambda: office.post(f"/media/{media.id}/attempts"),
        lambda: put_away(media.id),
        before="UPDATE media_attachments",
    )

    was_trashed, was_retried = (
        count(AuditEntry, action="trash"),
        count(AuditEntry, action="media.retry"),
    )
    assert (fresh(media).state is State.TRASHED) is bool(was_trashed)
    assert was_trashed + was_retried == 1


@pytest.mark.parametrize("words", [("--all",), ()], ids=["all", "one"])
def test_a_retry_by_command_does_not_undo_a_trash(words, anna, race, say):
    media = keep(**WAITS)

    race(
        lambda: say("retry", *(words or [str(media.id)])),
        lambda: put_away(media.id),
        before="UPDATE media_attachments",
    )

    was_trashed = count(AuditEntry, action="trash")
    assert (fresh(media).state is State.TRASHED) is bool(was_trashed)


def test_derivatives_of_a_trashed_file_are_not_made_again(anna, race, say):
    media = keep(copy_state=CopyState.IMPOSSIBLE, copy_problem="The file is incomplete.")

    race(
        lambda: say("retry", str(media.id)),
        lambda: put_away(media.id),
        before="UPDATE media_attachments",
    )

    row = fresh(media)
    came_second = row.trashed_at is not None and row.copy_state is CopyState.DUE
    assert row.state is State.TRASHED
    assert came_second is (db.engine.dialect.name == "sqlite")


def test_a_caption_for_a_link_that_is_gone_is_no_failure(anna, race, client):
    media, job = keep(), factories.quote(factories.customer())
    factories.link(job, media)
    [link] = filing.links_of(job)
    form = {f"caption-{link.id}": "East wall", f"was-{link.id}": "", "done": "1"}
    answers: list[int] = []

    def unlink() -> None:
        found = db.session.get_one(MediaAttachment, media.id)
        filing.unlink([found], db.session.get_one(type(job), job.id), None)
        db.session.commit()

    race(
        lambda: answers.append(client.post(f"/work/{job.id}/files", data=form).status_code),
        unlink,
        before="UPDATE media_links",
    )

    assert answers == [303]
    assert count(MediaLink) == 0


# --- Events --------------------------------------------------------------------------------


def unparsed(**values: Any) -> WebhookEvent:
    event, _ = WebhookEvent.record("test-1", "standard", b"{}")
    event.mark_unparsed("Nobody knows what it is.")
    for name, value in values.items():
        setattr(event, name, value)
    db.session.commit()
    return event


def process(event_id: uuid.UUID) -> None:
    """As somebody's request to read it again, and the worker that did, in the meantime."""
    event = db.session.get_one(WebhookEvent, event_id)
    event.mark_processed("message.received")
    db.session.commit()


def test_reading_again_does_not_reopen_what_was_read_meanwhile(anna, race, log_in):
    event, office = unparsed(), log_in("office")

    race(
        lambda: office.post(f"/status/events/{event.id}/readings"),
        lambda: process(event.id),
        before="UPDATE webhook_events",
    )

    assert fresh(event).state is WebhookEvent.State.PROCESSED


def test_reprocess_does_not_reopen_what_was_read_meanwhile(anna, race, say):
    event = unparsed()

    race(
        lambda: say("reprocess"),
        lambda: process(event.id),
        before="UPDATE webhook_events",
    )

    assert fresh(event).state is WebhookEvent.State.PROCESSED


def test_a_failure_is_not_written_over_what_another_worker_read(anna, race):
    event = unparsed(state=WebhookEvent.State.RECEIVED, attempts=ingest.TRIES - 1)

    def fail() -> None:
        ingest.note_failure(event.id, ValueError())
        db.session.commit()

    race(fail, lambda: process(event.id), before="UPDATE webhook_events")

    assert fresh(event).state is WebhookEvent.State.PROCESSED


# --- Users ---------------------------------------------------------------------------------


def disable(user_id: uuid.UUID) -> None:
    accounts.disable(db.session.get_one(User, user_id))
    db.session.commit()


@pytest.mark.parametrize("kind", [Invitation, ApiToken], ids=["invitation", "token"])
def test_nothing_is_given_to_a_user_who_is_disabled_meanwhile(kind, omar, race):
    def give() -> None:
        user = db.session.get_one(User, omar.id)
        if kind is Invitation:
            accounts.invite(user)
        else:
            accounts.add_token(user, "Import", [ApiToken.Scope.READ])
        db.session.commit()

    race(give, lambda: disable(omar.id), before=f"INSERT INTO {kind.__tablename__}")

    assert not fresh(omar).is_enabled
    assert count(kind, user_id=omar.id) == 0


def test_a_token_is_revoked_once(omar, race):
    accounts.add_token(omar, "Import", [ApiToken.Scope.READ])
    db.session.commit()
    [token] = db.session.scalars(sa.select(ApiToken))

    def revoke() -> None:
        accounts.revoke_token(db.session.get_one(User, omar.id), token.id)
        db.session.commit()

    race(revoke, revoke, before="DELETE FROM api_tokens")

    assert count(AuditEntry, action="token.revoke") == 1


def test_a_role_is_said_to_change_from_what_it_was(omar, race):
    def change(role: User.Role) -> None:
        accounts.change(db.session.get_one(User, omar.id), role=role, name="Omar")
        db.session.commit()

    race(
        lambda: change(User.Role.OWNER),
        lambda: change(User.Role.FIELD),
        before="UPDATE users",
    )

    assert fresh(omar).role is User.Role.FIELD or count(AuditEntry, action="user.role") == 2
    said = db.session.scalars(
        sa.select(AuditEntry.words).filter_by(action="user.role").order_by(AuditEntry.id)
    ).all()
    assert said in (
        ["omar@crack.example: office to owner", "omar@crack.example: owner to field"],
        ["omar@crack.example: office to field", "omar@crack.example: field to owner"],
    )
