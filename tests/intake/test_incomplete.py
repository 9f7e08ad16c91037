"""A file that came cut off is asked for again; what came first is lost at no moment."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.support import homes
from tests.support.pictures import noise
from tests.support.stored_files import row
from viewer import failpoint, holdings
from viewer.extensions import db, now
from viewer.failpoint import Failpoint
from viewer.intake import derivatives, incomplete, refetch, sweep
from viewer.models import AuditEntry, MediaAttachment
from viewer.office import closing
from viewer.storage import keys

State, Trouble, CopyState = (
    MediaAttachment.State,
    MediaAttachment.Trouble,
    MediaAttachment.CopyState,
)

WHOLE = noise(900, 600, 60)
CUT = WHOLE[: len(WHOLE) // 2]


class Source:
    """A file at the provider that may change."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __call__(self) -> bytes:
        return self.content


@pytest.fixture
def sent(deliver, message, provider, work) -> Callable[[Source], MediaAttachment]:
    def send(source: Source) -> MediaAttachment:
        assert deliver(message(media=[provider.serve(source)]).payload()).status_code == 204
        work()
        return row(db.session.scalars(sa.select(MediaAttachment.id)).one())

    return send


def later(work: Callable[[], None], **span: float) -> None:
    with time_machine.travel(now() + timedelta(**span)):
        work()


def bytes_under(key: str) -> bytes:
    with homes.own().open(key) as file:
        return file.read()


def originals() -> list[str]:
    listed = homes.own().keys()
    return [key for key, _ in listed if keys.is_media(key) and not keys.is_derivative(key)]


def test_a_cut_photo_is_stored_and_says_what_it_is(sent):
    media = sent(Source(CUT))

    assert media.availability is MediaAttachment.Availability.INCOMPLETE
    assert media.needs_attention
    assert media.has_thumbnail
    assert bytes_under(media.file_path) == CUT
    assert sweep.due_media(9) == []  # not before a minute


def test_once_the_provider_has_all_of_it_the_whole_file_takes_its_place(sent, work):
    source = Source(CUT)
    first = sent(source)
    source.content = WHOLE

    later(work, minutes=2)

    media = row(first.id)
    assert media.availability is MediaAttachment.Availability.HERE
    assert media.sha256 == hashlib.sha256(WHOLE).hexdigest()
    assert bytes_under(media.file_path) == WHOLE
    assert (media.copy_state, media.copy_problem, media.problem) == (CopyState.MADE, None, None)
    assert bytes_under(media.thumbnail_path or "")
    assert bytes_under(keys.superseded(media.id, first.file_path)) == CUT
    assert originals() == [media.file_path]
    assert (media.superseded_path, media.next_attempt_at) == (None, None)
    noted = db.session.scalars(sa.select(AuditEntry.subject_id).filter_by(action="complete")).all()
    assert noted == [media.id]


def test_the_shared_copy_of_what_was_cut_is_not_served_for_the_whole(sent, work):
    source = Source(CUT)
    first = sent(source)
    shared = keys.shared(first.id, first.sha256 or "", "whole", "jpg")
    source.content = WHOLE

    later(work, minutes=2)

    assert keys.shared(first.id, row(first.id).sha256 or "", "whole", "jpg") != shared


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (CUT, incomplete.NO_MORE),
        (CUT[: len(CUT) // 2], incomplete.NO_MORE),
        (b"<!doctype html><title>Expired</title>", incomplete.NO_MORE),
        (None, incomplete.GONE),
    ],
    ids=["the same", "less", "an error page", "nothing"],
)
def test_what_is_no_better_changes_nothing_and_is_asked_for_three_times(
    then, words, sent, work, provider
):
    source = Source(CUT)
    media = sent(source)
    name, asked = media.file_path, provider.gets(media.openphone_url)
    if then is None:
        provider.withdraw(media.openphone_url)
    else:
        source.content = then

    later(work, minutes=2)
    later(work, hours=2)
    later(work, days=2)
    later(work, days=9)

    kept = row(media.id)
    assert provider.gets(media.openphone_url) - asked == 3
    assert kept.file_path == name
    assert (kept.problem, kept.next_attempt_at) == (words, None)
    assert kept.availability is MediaAttachment.Availability.INCOMPLETE
    assert bytes_under(kept.file_path) == CUT
    assert originals() == [kept.file_path]


@pytest.mark.parametrize(
    "place",
    ["incomplete.fetched", "incomplete.placed", "incomplete.named", "incomplete.moved"],
)
def test_a_run_that_dies_on_the_way_is_taken_up_again(place, sent, work, monkeypatch):
    source = Source(CUT)
    first = sent(source)
    source.content = WHOLE
    monkeypatch.setenv(failpoint.VARIABLE, f"{place}=raise")
    with time_machine.travel(now() + timedelta(minutes=2)), pytest.raises(Failpoint):
        incomplete.ask_again(first.id)
    dying = row(first.id)
    assert hashlib.sha256(bytes_under(dying.file_path)).hexdigest() == dying.sha256
    monkeypatch.delenv(failpoint.VARIABLE)

    later(work, hours=2)

    media = row(first.id)
    assert media.availability is MediaAttachment.Availability.HERE
    assert bytes_under(media.file_path) == WHOLE
    assert bytes_under(keys.superseded(media.id, first.file_path)) == CUT
    assert originals() == [media.file_path]
    assert (media.superseded_path, media.next_attempt_at) == (None, None)


def test_the_name_of_what_was_cut_is_not_taken_from_another_file(sent, work, monkeypatch):
    """The run died after it had moved the cut bytes, and another photo got their name since."""
    source = Source(CUT)
    first = sent(source)
    name, stem = first.file_path, first.file_stem
    source.content = WHOLE
    monkeypatch.setenv(failpoint.VARIABLE, "incomplete.moved=raise")
    with time_machine.travel(now() + timedelta(minutes=2)), pytest.raises(Failpoint):
        incomplete.ask_again(first.id)
    monkeypatch.delenv(failpoint.VARIABLE)
    values: dict[str, Any] = {
        column.name: getattr(row(first.id), column.name)
        for column in MediaAttachment.__table__.columns
        if column.name not in ("id", "superseded_path", "next_attempt_at")
    }
    values |= {"file_path": name, "file_stem": stem, "source_key": "other"}
    other = MediaAttachment(**values)
    db.session.add(other)
    db.session.commit()
    part = holdings.spool().new_part()
    part.write(WHOLE)
    part.seal()
    homes.own().place(name, part.path)
    part.discard()

    later(work, hours=2)

    assert bytes_under(row(other.id).file_path) == WHOLE
    assert row(first.id).superseded_path is None


def test_nobody_asks_for_the_rest_of_what_better_code_finds_whole(sent, work, provider):
    media = sent(Source(CUT))
    asked = provider.gets(media.openphone_url)
    part = holdings.spool().new_part()
    part.write(WHOLE)
    part.seal()
    homes.own().remove(media.file_path)
    homes.own().place(media.file_path, part.path)  # as if it had been readable all along
    part.discard()
    digest = hashlib.sha256(WHOLE).hexdigest()
    MediaAttachment.change_if(media.id, sha256=digest, file_size=len(WHOLE))
    assert derivatives.make_again(media.id)
    db.session.commit()

    work()
    later(work, days=2)

    kept = row(media.id)
    assert kept.availability is MediaAttachment.Availability.HERE
    assert (kept.next_attempt_at, kept.problem) == (None, None)
    assert provider.gets(kept.openphone_url) == asked


def test_a_person_who_accepts_it_while_it_is_asked_for_has_the_last_word(
    sent, provider, monkeypatch
):
    media = sent(Source(CUT))

    def accept(*_: object) -> bool:
        assert closing.accept_incomplete(row(media.id))
        db.session.commit()
        return False  # the provider has it no more

    monkeypatch.setattr(refetch, "fetch_again", accept)
    with time_machine.travel(now() + timedelta(minutes=2)):
        incomplete.ask_again(media.id)

    assert row(media.id).next_attempt_at is None


def test_a_person_who_says_that_it_is_all_there_is_ends_the_asking(sent, work, provider, client):
    source = Source(CUT)
    media = sent(source)
    asked = provider.gets(media.openphone_url)

    client.post(f"/media/{media.id}/acceptance")
    later(work, days=2)

    kept = row(media.id)
    assert provider.gets(media.openphone_url) == asked
    assert kept.availability is MediaAttachment.Availability.INCOMPLETE
    assert not kept.needs_attention
