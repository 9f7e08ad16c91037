"""One photo that two generations of webhooks give different addresses is shown once."""

import uuid
from datetime import timedelta

import flask_migrate
import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support import call_events, homes, sounds
from tests.support.factories import quote as quote_of
from tests.support.interleaving import interleave
from tests.support.pictures import picture
from viewer import transactions
from viewer.extensions import db, now
from viewer.intake import collect, duplicates, ingest, sweep
from viewer.models import MediaAttachment, MediaLink, Message, User
from viewer.office import filing, trash
from viewer.web.conversations.counts import counts_of

State = MediaAttachment.State


@pytest.fixture
def twice(deliver, message, provider, work):
    """Both generations announce a text, each with an address of its own for the photo."""

    def send(first=None, second=None) -> list[MediaAttachment]:
        first, second = first or picture(), second or picture()
        text = message()
        for dialect, scheme, content in (("d3", "standard", first), ("d1", "legacy", second)):
            text.media = [provider.serve(content, name=f"{dialect}-{uuid.uuid4().hex}")]
            assert deliver(text.payload(dialect), scheme).status_code == 204
            work()
        return rows()

    return send


@pytest.fixture
def owner(client) -> User:
    return db.session.scalars(sa.select(User)).first()


def rows() -> list[MediaAttachment]:
    db.session.expire_all()
    order = MediaAttachment.downloaded_at, MediaAttachment.id
    return list(db.session.scalars(sa.select(MediaAttachment).order_by(*order)))


def tiles(client, media: MediaAttachment) -> list[str]:
    """What the pages that list files say of this conversation."""
    own = f"/conversations/{media.conversation_id}"
    return [client.get(at).text for at in (own, "/photos", f"{own}/photos", "/unfiled")]


@BOTH
def test_it_is_two_rows_with_their_bytes_and_shown_as_one(twice, client):
    shown, hidden = twice()

    assert [shown.state, hidden.state] == [State.STORED, State.DUPLICATE]
    for row in (shown, hidden):
        with homes.own().open(row.file_path) as file:
            assert file.read() == picture()
    for text in tiles(client, shown):
        assert str(shown.id) in text
        assert str(hidden.id) not in text
    slides = client.get(f"/conversations/{shown.conversation_id}/slides").json["slides"]
    assert [slide["id"] for slide in slides] == [str(shown.id)]
    tally = counts_of([shown.conversation_id])[shown.conversation_id]
    assert (tally["all"], tally["photo"], tally["unfiled_photo"]) == (1, 1, 1)
    assert filing.list_unfiled(10) == [shown]


def test_other_bytes_and_other_messages_stay_apart(twice):
    assert {row.state for row in twice(picture(), picture(colour="blue"))} == {State.STORED}
    twice()

    assert [row.state for row in rows()].count(State.STORED) == 3


def test_an_address_of_the_hidden_one_leads_to_the_shown_one(twice, client):
    shown, hidden = twice()

    answer = client.get(f"/media/{hidden.id}")
    page = client.get(f"/media/{hidden.id}/passport").text

    assert (answer.status_code, answer.data) == (200, picture())
    assert str(shown.id) in page


def test_a_link_made_on_the_hidden_one_is_seen_on_the_shown_one(twice, client):
    shown, hidden = twice()
    record = quote_of(shown.conversation)

    form = {"media": str(hidden.id), "record": str(record.id)}
    assert client.post("/work/link", data=form).status_code in (302, 303)

    assert db.session.scalars(sa.select(MediaLink.media_id)).all() == [shown.id]


def test_the_trash_of_the_shown_one_does_not_bring_up_the_other(twice, client, owner):
    shown, hidden = twice()

    trash.trash(shown, owner)
    db.session.commit()
    for text in tiles(client, shown):
        assert str(hidden.id) not in text
    assert [row.state for row in rows()] == [State.TRASHED, State.DUPLICATE]

    trash.restore(shown, owner)
    db.session.commit()
    assert [row.state for row in rows()] == [State.STORED, State.DUPLICATE]


def test_one_that_comes_after_the_first_went_to_the_trash_stays_there_with_it(
    deliver, message, provider, work, owner
):
    text = message()
    for dialect, scheme in (("d3", "standard"), ("d1", "legacy")):
        text.media = [provider.serve(picture(), name=f"{dialect}.jpg")]
        deliver(text.payload(dialect), scheme)
        work()
        trash.trash(rows()[0], owner)
        db.session.commit()

    assert [row.state for row in rows()] == [State.TRASHED, State.DUPLICATE]


def test_what_is_deleted_for_good_leaves_no_other_row_of_it(twice, owner):
    shown, hidden = twice()
    trash.trash(shown, owner)
    db.session.commit()

    with time_machine.travel(now() + trash.KEPT + timedelta(days=1)):
        assert trash.purge([shown.id], owner) == 1

    assert all(row.purged_at and row.quarantined_at for row in rows())
    assert hidden.file_path not in [key for key, _ in list(homes.own().keys())]


def test_what_people_worked_with_is_never_hidden(twice, owner):
    first, second = twice(picture(), picture(colour="blue"))
    record = quote_of(first.conversation)
    filing.link([second], record, owner)
    second.sha256, second.file_size = first.sha256, first.file_size
    db.session.commit()

    duplicates.hide(first.message_id)
    db.session.commit()

    assert [row.state for row in rows()] == [State.DUPLICATE, State.STORED]
    first, second = rows()
    first.state, first.caption = State.STORED, "north wall"
    db.session.commit()
    duplicates.hide(first.message_id)
    db.session.commit()
    assert {row.state for row in rows()} == {State.STORED}


@BOTH
def test_rows_from_before_are_shown_as_one_after_the_upgrade(twice):
    twice()
    db.session.close()

    flask_migrate.downgrade(revision="0022")
    with db.engine.connect() as connection:
        before = connection.scalars(sa.text("SELECT state FROM media_attachments")).all()
    flask_migrate.upgrade()

    assert before == ["stored"] * 2
    assert [row.state for row in rows()] == [State.STORED, State.DUPLICATE]


@BOTH
def test_two_that_are_stored_at_once_see_each_other(twice, app):
    shown, _ = twice()

    held = duplicates.hold_message_of(shown.id)
    assert held == shown.message_id
    if db.engine.dialect.name == "postgresql":
        with app.app_context():
            db.session.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                Message.hold(shown.message.provider_id)
    db.session.rollback()


@BOTH
def test_a_recording_can_be_stored_while_its_transcript_is_read(
    app, deliver, provider, monkeypatch
):
    monkeypatch.setattr(transactions, "DEADLOCK", "")  # it is not tried again here: it fails
    url = provider.serve(sounds.tone())
    recorded, spoken = call_events.recorded(url, [(0.0, "There is water on the floor")])
    assert deliver(recorded).status_code == 204
    ingest.ingest(sweep.due_events(1)[0])
    [media] = rows()
    assert deliver(spoken).status_code == 204
    [event_id] = sweep.due_events(1)

    interleave(
        app,
        lambda: collect.collect(media.id),
        lambda: ingest.ingest(event_id),
        before="UPDATE media_attachments SET storage",  # stored
    )

    [media] = rows()
    assert media.state is State.STORED
    assert media.message.transcript
