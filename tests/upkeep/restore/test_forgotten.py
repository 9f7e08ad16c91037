"""Who was forgotten after a snapshot is forgotten again when it is restored."""

from datetime import timedelta

import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support import factories, stored_files
from viewer.extensions import db, now
from viewer.models import Conversation, Forgetting, MediaAttachment, Message
from viewer.office import forgetting
from viewer.upkeep import forget

State = Forgetting.State
GONE, STAYS = "+16175550177", "+16175550188"


def _customer(number: str, name: str, content: bytes) -> MediaAttachment:
    message = factories.text(factories.customer(number, name), body=f"{name} wrote")
    return stored_files.keep(content, message)


def _forget(number: str) -> None:
    found = forgetting.ask(number, Forgetting.Reason.REQUEST)
    db.session.commit()
    identity = found.id
    for days in (7.1, 7.2):
        with time_machine.travel(now() + timedelta(days=days), tick=False):
            forget.forget_due(at_once=True)
            forget.clear_own()
            forget.forget_due(at_once=True)
    assert db.session.get_one(Forgetting, identity, populate_existing=True).state is State.DONE
    db.session.commit()


@BOTH
def test_an_older_snapshot_brings_nobody_back_who_was_forgotten(app, back_up, machine):
    _customer(GONE, "Zephyrine Quillfeather", b"gone")
    kept = _customer(STAYS, "Rosalind Okonkwo", b"stays")
    key = kept.file_path
    assert back_up().is_good
    _forget(GONE)
    assert back_up().is_good

    result = machine.restore(1)

    assert (result.is_whole, result.files) == (True, 1)
    with machine.opened():
        people = db.session.scalars(sa.select(Conversation.participants)).all()
        assert people == [STAYS]
        assert db.session.scalars(sa.select(Message.body)).all() == ["Rosalind Okonkwo wrote"]
        [row] = db.session.scalars(sa.select(Forgetting)).all()
        assert row.state is State.CLEARING  # the schedule goes on with it
        forget.clear_own()
        with time_machine.travel(now() + timedelta(hours=1), tick=False):
            forget.clear_own()
            forget.forget_due(at_once=True)
        db.session.expire_all()
        assert row.state is State.DONE
        assert row.number is None
    assert (machine.root / key).read_bytes() == b"stays"
    assert [one for one in machine.root.rglob("*.txt") if one.read_bytes() == b"gone"] == []


def test_whoever_was_not_in_the_snapshot_is_kept_out_all_the_same(app, back_up, machine):
    _customer(STAYS, "Rosalind Okonkwo", b"stays")
    assert back_up().is_good
    _customer(GONE, "Zephyrine Quillfeather", b"gone")
    _forget(GONE)
    assert back_up().is_good

    machine.restore(1)

    with machine.opened():
        [row] = db.session.scalars(sa.select(Forgetting)).all()
        assert row.state is State.DONE
        assert forgetting.tombstones().keys() == {row.id}


def test_an_entry_names_nobody_and_is_written_once(app, back_up, place):
    _customer(GONE, "Zephyrine Quillfeather", b"gone")
    _forget(GONE)
    assert back_up().is_good
    [entry] = (place / "forgotten").iterdir()
    first = entry.read_bytes()

    assert back_up().is_good

    assert entry.read_bytes() == first
    for needle in (b"6175550177", b"Quillfeather", b"ACtest"):
        assert needle not in first
