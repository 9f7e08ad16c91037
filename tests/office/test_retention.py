"""The quarantine ends, and by settings recordings and raw deliveries do; nothing else goes."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support import customers, factories, homes
from tests.support.stored_files import keep
from viewer import config
from viewer.extensions import db, now
from viewer.models import AuditEntry, MediaAttachment, User, WebhookEvent
from viewer.office import accounts, filing, retention, sharing, trash

State, Role = MediaAttachment.State, MediaAttachment.Role


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "RECORDING_DAYS": 365, "RAW_DELIVERY_DAYS": 90, "QUARANTINE_DAYS": 30}


@pytest.fixture
def anna(app: Any) -> User:
    user = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    db.session.commit()
    return user


def purged() -> MediaAttachment:
    """A file that was deleted for good just now."""
    media = keep(state=State.TRASHED, trashed_at=now() - timedelta(days=40))
    assert trash.purge([media.id], None) == 1
    return db.session.get_one(MediaAttachment, media.id)


def actions() -> list[tuple[str, str]]:
    rows = db.session.execute(
        sa.select(AuditEntry.action, AuditEntry.words).where(
            AuditEntry.action.in_(("quarantine", "retention"))
        )
    )
    return [tuple(row) for row in rows]


@BOTH
def test_the_quarantine_ends_after_its_days_and_nothing_else_goes(app, anna):
    retention.empty_quarantine()  # from now on it counts
    here, in_trash = keep(), keep(state=State.TRASHED, trashed_at=now())
    kept = {one.file_path for one in (here, in_trash)}
    gone = purged()
    key = trash.quarantine_key(gone)

    with time_machine.travel(now() + timedelta(days=29), tick=False):
        assert retention.empty_quarantine() == 0
        assert key in customers.stored()
    with time_machine.travel(now() + timedelta(days=31), tick=False):
        young = purged()
        assert retention.empty_quarantine() == 1
        assert retention.empty_quarantine() == 0
        assert set(customers.stored()) == kept | {trash.quarantine_key(young)}
        assert retention.in_quarantine()[0] == 1
    assert actions() == [("quarantine", "1 file after 30 days")]


def test_what_lay_there_before_anybody_was_told_is_given_the_days_too(app, anna):
    gone = purged()
    gone.quarantined_at = now() - timedelta(days=900)
    db.session.commit()

    assert retention.empty_quarantine() == 0

    assert trash.quarantine_key(gone) in customers.stored()
    with time_machine.travel(now() + timedelta(days=31), tick=False):
        assert retention.empty_quarantine() == 1


@BOTH
def test_recordings_end_but_for_those_that_are_needed(app, anna):
    home = factories.customer()
    call = factories.text(home, kind="call", sent_at=now() - timedelta(days=366))
    young = factories.text(home, kind="call", sent_at=now() - timedelta(days=364))
    sound = {"role": Role.RECORDING, "media_type": MediaAttachment.MediaType.AUDIO}
    old, linked, evidence, shared = (keep(message=call, **sound) for _ in range(4))
    voicemail, photo = keep(message=call, **(sound | {"role": Role.VOICEMAIL})), keep(message=call)
    new = keep(message=young, **sound)
    quote = factories.quote(home)
    filing.link([linked], quote, anna)
    factories.evidence(quote, evidence)
    sharing.create("Call", [shared], now() + timedelta(days=9), anna)
    db.session.commit()
    before = customers.stored()

    assert retention.end_what_is_old() == "1 recording after 365 days"
    assert retention.end_what_is_old() == "nothing is old enough"
    trash.finish_purges()

    db.session.expire_all()
    assert (old.state, old.purged_at is not None) == (State.TRASHED, True)
    for one in (linked, evidence, shared, voicemail, photo, new):
        assert one.state is State.STORED
        with homes.own().open(one.file_path) as file:
            assert hashlib.sha256(file.read()).hexdigest() == before[one.file_path]
    assert actions() == [("retention", "1 recording after 365 days")]


@BOTH
def test_raw_deliveries_end_and_a_repeat_is_known_all_the_same(app, deliver, work, message):
    text = message()
    unread = message().payload() | {"type": "something.new"}
    assert deliver(text.payload(), delivery_id="msg_one").status_code == 204
    assert deliver(unread, delivery_id="msg_two").status_code == 204
    work()

    with time_machine.travel(now() + timedelta(days=91)):
        assert retention.end_what_is_old() == "1 raw delivery after 90 days"
    assert deliver(text.payload(), delivery_id="msg_one").status_code == 204
    work()

    rows = db.session.execute(
        sa.select(WebhookEvent.delivery_id, WebhookEvent.body).order_by(WebhookEvent.delivery_id)
    ).all()
    assert [(name, bool(body)) for name, body in rows] == [("msg_one", False), ("msg_two", True)]


def test_by_default_everything_is_kept():
    fields = config.Settings.model_fields
    assert fields["RECORDING_DAYS"].default is None
    assert fields["RAW_DELIVERY_DAYS"].default is None


def test_the_status_page_says_what_lies_in_quarantine(app, client, anna):
    purged()

    page = client.get("/status").text

    assert "In quarantine" in page
    assert "30 days" in page
