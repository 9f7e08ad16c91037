"""Work records (quotes, appointments, invoices): validation and status transitions.

Every entry point (forms, the API) uses this module, so the rules are here and nowhere else.

Invalid      a value is invalid; `errors` tells the user why, by field
OutOfStep    the record's current status does not allow this transition
Unfinished   something is missing that the customer would miss; the user may insist
Overtaken    edit conflict: somebody else changed the record in the meantime
"""

import hashlib
import json
import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import joinedload

from viewer.config import settings
from viewer.extensions import Lock, db, lock, now
from viewer.models import (
    STATUSES,
    AuditEntry,
    Conversation,
    SearchEntry,
    User,
    WorkEntry,
    WorkRecord,
)
from viewer.office import audit, evidence, money
from viewer.plurals import counted
from viewer.search import tokens

Kind = WorkRecord.Kind
Status = WorkRecord.Status

# The fields of each kind, in the order of the form.
FIELDS = {
    Kind.QUOTE: ("number", "title", "amount"),
    Kind.APPOINTMENT: ("starts_at", "visit", "place"),
    Kind.INVOICE: ("number", "title", "amount", "due_on"),
}
COMMON = ("external_reference", "external_url", "notes")

# Allowed status transitions, likeliest first. Most can be undone: people misclick.
STEPS = {
    Kind.QUOTE: {
        Status.DRAFT: (Status.SENT,),
        Status.SENT: (Status.APPROVED, Status.DECLINED, Status.DRAFT),
        Status.APPROVED: (Status.SENT,),
        Status.DECLINED: (Status.SENT, Status.DRAFT),
    },
    Kind.APPOINTMENT: {
        Status.PLANNED: (Status.DONE, Status.CANCELED),
        Status.DONE: (Status.PLANNED,),
        Status.CANCELED: (Status.PLANNED,),
    },
    Kind.INVOICE: {
        Status.DRAFT: (Status.SENT, Status.VOID),
        Status.SENT: (Status.PAID, Status.VOID, Status.DRAFT),
        Status.PAID: (Status.SENT,),
        Status.VOID: (Status.DRAFT,),
    },
}

VISITS = ("Inspection", "Estimate", "Repair", "Follow-up", "Warranty visit")
# Prefix, digits, and the number before the first: the first quote is Q-101.
FIRST_NUMBERS = {Kind.QUOTE: ("Q-", 3, 100), Kind.INVOICE: ("INV-", 4, 1000)}
NOTES_LONGEST = 10_000  # characters
TRIES = 3  # retries when somebody else takes the generated number
EARLIEST, LATEST = 2000, 2100  # years; any other is a typo

LABELS = {
    "conversation_id": "Customer", "number": "Number", "title": "Title", "amount": "Amount",
    "starts_at": "When", "visit": "Kind of visit", "place": "Place", "due_on": "Due",
    "external_reference": "Reference", "external_url": "Address", "notes": "Notes",
}  # fmt: skip
_LIMITS = {
    column.name: column.type.length
    for column in sa.inspect(WorkRecord).columns
    if isinstance(column.type, sa.String) and column.type.length
}
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_NUMBER = re.compile(r"(.*?)([0-9]{1,12})")


class Invalid(Exception):
    """Some values are invalid. `errors`: a message for the user, by field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


class OutOfStep(Exception):
    """The transition is not allowed. The message tells the user the current status."""


class Unfinished(Exception):
    """A title or an amount is missing. The message tells the user which."""


class Overtaken(Exception):
    """Edit conflict. `by` and `at`: who changed the record, and when, if the audit log has it."""

    def __init__(self, by: str | None, at: datetime | None) -> None:
        super().__init__("Somebody changed this record meanwhile.")
        self.by, self.at = by, at


# --- Creating and editing ------------------------------------------------------------------


def create(
    kind: Kind,
    conversation: Conversation,
    values: Mapping[str, Any],
    *,
    by: User | None = None,
    record_id: uuid.UUID | None = None,
) -> WorkRecord:
    """Create a record. Idempotent with `record_id`: if it exists, update and return that one.

    A quote or invoice without a number gets the next one. Raises Invalid; Overtaken, if the
    existing record was edited since, so that the edit stands. Does not commit.
    """
    if record_id is not None and (known := find_record(record_id, to_change=True)):
        return _repeat_creation(known, conversation, values)
    clean = check_values(kind, values)
    chosen = clean.get("number")
    if "number" in clean and not chosen:
        lock(Lock.NEXT_NUMBER, kind)  # generate one by one; a chosen number takes no lock
    for _ in range(TRIES):
        number = chosen or (next_number(kind) if "number" in clean else None)
        record = WorkRecord(
            id=record_id or uuid.uuid4(),
            kind=kind,
            status=STATUSES[kind][0],
            conversation=conversation,
            created_by_id=by.id if by else None,
            **(clean | {"number": number}),
        )
        try:
            with db.session.begin_nested():
                db.session.add(record)
                db.session.flush()
        except IntegrityError:
            if record_id is not None and (known := find_record(record_id, to_change=True)):
                return _repeat_creation(known, conversation, values)
            if number is None or not _is_taken(kind, number):
                raise
            if chosen:
                raise Invalid({"number": _say_taken(kind, number)}) from None
            continue  # the number was generated, so the next one will do
        index_record(record)
        audit.note("record.create", describe(record), by=by, subject=("record", record.id))
        return record
    raise Invalid({"number": "Somebody else takes each number first. Try again."})


def _repeat_creation(
    record: WorkRecord, conversation: Conversation, values: Mapping[str, Any]
) -> WorkRecord:
    """The creation form was resubmitted: by a double click, or after going back."""
    said = {name: one for name, one in values.items() if one or name != "number"}
    is_edited = _last_change(record) != (None, None)
    change(record, said, conversation=conversation, seen="another" if is_edited else None)
    return record


def change(
    record: WorkRecord,
    values: Mapping[str, Any],
    *,
    conversation: Conversation | None = None,
    seen: str | None = None,
) -> None:
    """Update the given values; others stay. Idempotent. Does not commit.

    `seen` is the `version_of` the record when the user opened the form (optimistic locking; None
    skips the check). Raises Invalid, Overtaken.
    """
    before = _values_of(record) | {"conversation_id": record.conversation_id}
    said = {name: value for name, value in before.items() if name != "conversation_id"}
    after = check_values(record.kind, said | dict(values)) | {
        "conversation_id": conversation.id if conversation else record.conversation_id
    }
    changed = [name for name in after if after[name] != before[name]]
    if not changed:
        return  # also on a double click: the first one has saved it
    if seen is not None and seen != version_of(record):
        raise Overtaken(*_last_change(record))
    if after.get("number", "") is None:
        raise Invalid({"number": f"Give it a number, such as {next_number(record.kind)}."})
    try:
        with db.session.begin_nested():
            for name in changed:
                setattr(record, name, after[name])
            db.session.flush()
    except IntegrityError:
        if not after.get("number") or not _is_taken(record.kind, after["number"]):
            raise
        raise Invalid({"number": _say_taken(record.kind, after["number"])}) from None
    index_record(record)
    audit.note(
        "record.edit",
        f"{describe(record)}: {_describe_changes(before, after, changed)}",
        subject=("record", record.id),
    )


def archive(record: WorkRecord) -> None:
    """Archive the record: hidden from the list, still found by search. Idempotent.

    Does not commit.
    """
    if record.archived_at is None:
        record.archived_at = now()
        audit.note("record.archive", describe(record), subject=("record", record.id))


def unarchive(record: WorkRecord) -> None:
    """Take the record out of the archive. Idempotent. Does not commit."""
    if record.archived_at is not None:
        record.archived_at = None
        audit.note("record.unarchive", describe(record), subject=("record", record.id))


def find_record(record_id: uuid.UUID, *, to_change: bool = False) -> WorkRecord | None:
    """The record with its conversation; `to_change` reloads and locks it for the transaction."""
    query = (
        sa.select(WorkRecord).filter_by(id=record_id).options(joinedload(WorkRecord.conversation))
    )
    if to_change:
        query = query.with_for_update(of=WorkRecord).execution_options(populate_existing=True)
    return db.session.scalar(query)


def version_of(record: WorkRecord) -> str:
    """Hash of the editable values, for optimistic locking. Status, links and cover do not count."""
    values = _values_of(record) | {"conversation_id": record.conversation_id}
    said = json.dumps(values, default=str, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


# --- Steps ---------------------------------------------------------------------------------


def steps_of(record: WorkRecord) -> tuple[Status, ...]:
    """The allowed transitions now, likeliest first."""
    return STEPS[record.kind][record.status]


def missing_to_send(record: WorkRecord) -> list[str]:
    """What this draft lacks to be sent, in words: “title”, “amount”. Zero dollars is an amount."""
    if record.kind is Kind.APPOINTMENT or record.status is not Status.DRAFT:
        return []
    missing = [] if record.title else ["title"]
    return missing if record.amount is not None else [*missing, "amount"]


def take_step(
    record: WorkRecord,
    status: Status,
    *,
    by: User | None = None,
    sent_on: date | None = None,
    unfinished: bool = False,
) -> None:
    """Set the record's status. Idempotent. Does not commit.

    `sent_on` is for a quote that was sent on an earlier day; `unfinished` sends a draft without a
    title or an amount, too. Raises OutOfStep, Invalid, Unfinished.
    """
    if status is record.status:
        return
    if status not in steps_of(record):
        raise OutOfStep(f"This {record.kind} is {record.status} now, so it cannot become {status}.")
    if status is Status.SENT and not unfinished:
        _check_finished(record)
    if record.kind is Kind.QUOTE and record.status is Status.DRAFT:
        send_quote(record, by=by, sent_on=sent_on, unfinished=unfinished)
        return
    lacking = _say_lacking(record) if status is Status.SENT else ""
    before, record.status = record.status, status
    if record.kind is Kind.QUOTE and status is Status.DRAFT:
        record.sent_at = None
    _note_step(record, before, lacking)


def _check_finished(record: WorkRecord) -> None:
    if missing := missing_to_send(record):
        raise Unfinished(
            f"{describe(record)} has no {' and no '.join(missing)}, so it was not marked as sent."
            f" Add {'them' if len(missing) > 1 else 'it'}, or tick that it was sent without."
        )


def send_quote(
    record: WorkRecord,
    *,
    by: User | None = None,
    sent_on: date | None = None,
    unfinished: bool = False,
) -> None:
    """Mark a draft quote as sent, and snapshot its media as evidence. Does not commit.

    Raises Invalid, OutOfStep, Unfinished.
    """
    if record.kind is not Kind.QUOTE or record.status is not Status.DRAFT:
        raise OutOfStep("Only a draft of a quote can be sent.")
    if not unfinished:
        _check_finished(record)
    before, lacking = record.status, _say_lacking(record)
    record.status, record.sent_at = Status.SENT, _sent_at(record, sent_on)
    kept = evidence.take_snapshot(record, by)
    _note_step(record, before, f"with {counted(len(kept.items), 'file')} {lacking}")


def _say_lacking(record: WorkRecord) -> str:
    return " ".join(f"without {name}" for name in missing_to_send(record))


def _sent_at(record: WorkRecord, sent_on: date | None) -> datetime:
    """Now, or noon of an earlier day: nobody remembers the time. Raises Invalid."""
    moment, zone = now(), settings().zone
    today = moment.astimezone(zone).date()
    if sent_on is None or sent_on == today:
        return moment
    if sent_on > today:
        raise Invalid({"sent_on": "That day is still to come."})
    if sent_on.year < EARLIEST:
        raise Invalid({"sent_on": f"That is before {EARLIEST}."})
    return datetime(sent_on.year, sent_on.month, sent_on.day, 12, tzinfo=zone)


def _note_step(record: WorkRecord, before: Status, more: str = "") -> None:
    said = f"{describe(record)}: {before} → {record.status}"
    audit.note("record.status", f"{said} {more}".strip(), subject=("record", record.id))


# --- Numbers -------------------------------------------------------------------------------


def next_number(kind: Kind) -> str:
    """The next free number of this kind, such as Q-105 after Q-104."""
    recent = list(
        db.session.scalars(
            sa.select(WorkRecord.number)
            .where(WorkRecord.kind == kind, WorkRecord.number.is_not(None))
            .order_by(WorkRecord.created_at.desc(), WorkRecord.id.desc())
            .limit(100)
        )
    )
    counted = [found for number in recent if (found := _NUMBER.fullmatch(number or ""))]
    prefix, width, highest = FIRST_NUMBERS[kind]
    if counted:
        prefix, width = counted[0][1], len(counted[0][2])
        highest = max(int(found[2]) for found in counted if found[1] == prefix)
    offered = [f"{prefix}{highest + more:0{width}}" for more in range(1, 101)]
    taken = set(
        db.session.scalars(
            sa.select(WorkRecord.number).where(
                WorkRecord.kind == kind, WorkRecord.number.in_(offered)
            )
        )
    )
    return next((number for number in offered if number not in taken), offered[-1])


def _is_taken(kind: Kind, number: str) -> bool:
    return (
        db.session.scalar(sa.select(WorkRecord.id).filter_by(kind=kind, number=number)) is not None
    )


def _say_taken(kind: Kind, number: str) -> str:
    return f"{number} is taken by another {kind}. The next free number is {next_number(kind)}."


# --- Values --------------------------------------------------------------------------------


def check_values(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of this kind, validated and normalized; None or "" if empty. Raises Invalid."""
    names = (*FIELDS[kind], *COMMON)
    errors = {name: f"Of {kind}s there is no such field." for name in values if name not in names}
    clean: dict[str, Any] = {}
    for name in names:
        try:
            clean[name] = _CHECKS[name](name, values.get(name))
        except ValueError as problem:
            errors[name] = str(problem)
    if errors:
        raise Invalid(errors)
    return clean


def _check_line(name: str, value: Any) -> str | None:
    """One line of text, without invisible characters; None if empty."""
    if value is not None and not isinstance(value, str):
        raise ValueError("This has to be text.")
    text = " ".join(_visible_text(value or "").split())
    limit = _LIMITS[name]
    if len(text) > limit:
        raise ValueError(f"Shorten this to {limit} characters; it has {len(text)}.")
    return text or None


def _visible_text(text: str) -> str:
    """Remove control characters (PostgreSQL text cannot hold NUL) and bidirectional marks."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n"))
    return "".join(
        sign
        for sign in text
        if sign in "\n\t"
        or (sign not in _TURNING and unicodedata.category(sign) not in ("Cc", "Cs"))
    )


def _check_number(name: str, value: Any) -> str | None:
    found = _check_line(name, value)
    return found.upper() if found else None  # q-104 and Q-104 are the same number to people


def _check_title(name: str, value: Any) -> str:
    return _check_line(name, value) or ""


def _check_notes(_name: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError("This has to be text.")
    text = _visible_text(value or "").strip()
    if len(text) > NOTES_LONGEST:
        raise ValueError(f"Shorten this to {NOTES_LONGEST:,} characters; it has {len(text):,}.")
    return text


def _check_amount(_name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("An amount is a whole number of cents.")
    if not 0 <= value <= money.LARGEST:
        raise ValueError(f"An amount lies between $0.00 and {money.dollars(money.LARGEST)}.")
    return value


def _check_moment(_name: str, value: Any) -> datetime:
    if value is None:
        raise ValueError("Say on which day and at what time.")
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("A time needs its zone.")
    _check_year(value.year)
    return value.astimezone(UTC)


def _check_day(_name: str, value: Any) -> date | None:
    if value is not None:
        if not isinstance(value, date) or isinstance(value, datetime):
            raise ValueError("This has to be a day.")
        _check_year(value.year)
    found: date | None = value
    return found


def _check_year(year: int) -> None:
    if not EARLIEST <= year < LATEST:
        raise ValueError(f"Check the year: {year} cannot be.")


def _check_address(name: str, value: Any) -> str | None:
    """An http(s) URL for a link: no javascript:, file: or other scheme, no credentials."""
    found = _check_line(name, value)
    if found is None:
        return None
    try:
        parts = urlsplit(found)
        _ = parts.port
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_fine = False
    if not is_fine or any(sign in found for sign in ' \\<>"') or "@" in parts.netloc:
        raise ValueError("Write an address that begins with https://.")
    return found


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "number": _check_number,
    "title": _check_title,
    "amount": _check_amount,
    "starts_at": _check_moment,
    "due_on": _check_day,
    "visit": _check_line,
    "place": _check_line,
    "external_reference": _check_line,
    "external_url": _check_address,
    "notes": _check_notes,
}


def _values_of(record: WorkRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in (*FIELDS[record.kind], *COMMON)}


# --- Texts for the audit log and the search ------------------------------------------------


def describe(record: WorkRecord) -> str:
    """Such as `Quote Q-104` or `Inspection on March 12, 2026`."""
    if record.starts_at is not None:
        when = record.starts_at.astimezone(settings().zone)
        return f"{record.visit or 'Appointment'} on {when:%B} {when.day}, {when.year}"
    return f"{record.kind.capitalize()} {record.number}"


def _describe_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], changed: list[str]
) -> str:
    return ", ".join(
        f"{LABELS[name].lower()} changed"
        if name in ("conversation_id", "notes")
        else f"{LABELS[name].lower()} {show_value(before[name])} → {show_value(after[name])}"
        for name in changed
    )


def show_value(value: Any) -> str:
    """Format a field's value for people."""
    match value:
        case None | "":
            return "none"
        case datetime():
            here = value.astimezone(settings().zone)
            clock = f"{here:%I:%M %p}".lstrip("0")
            return f"{here:%B} {here.day}, {here.year}, {clock}"
        case date():
            return f"{value:%B} {value.day}, {value.year}"
        case int():
            return money.dollars(value)
        case _:
            return str(value)


def _last_change(record: WorkRecord) -> tuple[str | None, datetime | None]:
    row = db.session.execute(
        sa.select(AuditEntry.who, AuditEntry.at)
        .where(AuditEntry.subject_id == record.id, AuditEntry.action == "record.edit")
        .order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        .limit(1)
    ).first()
    return (row.who, row.at) if row else (None, None)


def index_record(record: WorkRecord) -> None:
    """Upsert the record's search entry."""
    said = (record.number, record.title, record.visit, record.place, record.external_reference)
    # Also without the hyphen: people type Q104.
    own = tokens.folded(" ".join([*filter(None, said), (record.number or "").replace("-", "")]))
    entry = db.session.scalar(sa.select(WorkEntry).filter_by(record_id=record.id))
    if entry is not None:
        entry.own = own
        return
    # Locked: a concurrent rename updates the entries it sees, and this one is not committed yet.
    customer = db.session.scalar(
        sa.select(SearchEntry.words)
        .filter_by(conversation_id=record.conversation_id)
        .with_for_update(read=True)
    )
    db.session.add(WorkEntry(record_id=record.id, own=own, customer=customer or ""))
    db.session.flush()
