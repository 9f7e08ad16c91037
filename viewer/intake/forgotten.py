"""Keep out what was forgotten: the provider repeats deliveries, and the catch-up reads its history.

A customer who writes again is a new one: what was sent after the forgetting is taken.
"""

from dataclasses import replace

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import db
from viewer.intake.phone_lines import OwnLines
from viewer.models import ForgottenId, ForgottenNumber, Message
from viewer.models.forgetting import digest_of, forgetting_key, forgotten_id, forgotten_numbers

_Report = quo.MessageSeen | quo.CallSeen


def without_forgotten(seen: quo.Seen) -> quo.Seen | None:
    """The report without whoever was forgotten; None if nothing of it may be kept.

    `Lock.INGEST` is held. Costs one look by primary key while nobody was ever forgotten.
    """
    if isinstance(seen, quo.Nothing) or (key := forgetting_key()) is None:
        return seen
    if isinstance(seen, quo.ContactSeen):
        return _contact(seen, key)
    return _report(seen, key)


def _report(seen: _Report, key: str) -> _Report | None:
    if forgotten_id(key, "message", seen.provider_id):
        return None
    parties = seen.parties
    named = {*parties.numbers, *filter(None, [parties.sender])}
    sent_at = seen.sent_at or seen.said_at
    gone = {
        number: row for number, row in forgotten_numbers(key, named).items() if sent_at < row.before
    }
    if not gone:
        return seen
    ours = OwnLines.read().numbers | set(parties.ours)
    if parties.sender in gone or not named - ours - gone.keys():
        [first, *_] = gone.values()
        # So that what follows, and names nobody (a transcript), is kept out as well.
        digest = digest_of(key, "message", seen.provider_id)
        db.session.add(ForgottenId(digest=digest, forgetting_id=first.forgetting_id))
        return None
    return _replaced(seen, gone)


def _replaced(seen: _Report, gone: dict[str, ForgottenNumber]) -> _Report:
    """A message among others, who stay: the forgotten take part under a pseudonym."""

    def known(number: str) -> str:
        return gone[number].pseudonym if number in gone else number

    numbers = tuple(map(known, seen.parties.numbers))
    seen = replace(seen, parties=replace(seen.parties, numbers=numbers))
    if isinstance(seen, quo.CallSeen):
        lines = [
            replace(line, number=line.number and known(line.number)) for line in seen.transcript
        ]
        seen = replace(seen, transcript=tuple(lines))
    return seen


def _contact(seen: quo.ContactSeen, key: str) -> quo.ContactSeen | None:
    """Only once a forgotten number has written again is it taken into the address book again."""
    told = seen.numbers or ()
    gone = [
        number for number in forgotten_numbers(key, set(told)) if not _has_written_again(number)
    ]
    stays = tuple(number for number in told if number not in gone)
    if not stays and (gone or forgotten_id(key, "contact", seen.provider_id)):
        return None
    return replace(seen, numbers=stays) if gone else seen


def _has_written_again(number: str) -> bool:
    return bool(db.session.scalar(sa.select(Message.id).filter_by(sender=number).limit(1)))
