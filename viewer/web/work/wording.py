"""Texts for files and records on the work pages."""

from collections.abc import Sequence
from typing import Any

from flask import url_for

from viewer.extensions import now
from viewer.models import MediaAttachment, WorkRecord
from viewer.office import money
from viewer.web.formatting import local, visit_time
from viewer.web.wording import counted_by_kind, what

Kind = WorkRecord.Kind
Status = WorkRecord.Status


def counted(media: Sequence[MediaAttachment]) -> str:
    """30 photos; 2 photos, 1 voicemail"""
    return ", ".join(counted_by_kind(media))


def these(media: Sequence[MediaAttachment]) -> str:
    """this photo; these 30 photos; these 3 files, if they are of several kinds"""
    kinds = {what(one) for one in media}
    if len(media) == 1:
        return f"this {kinds.pop()}"
    return f"these {counted(media) if len(kinds) == 1 else f'{len(media)} files'}"


def all_of_them(media: Sequence[MediaAttachment]) -> str:
    return f"{sentence(counted(media))} {'is' if len(media) == 1 else 'are'}"


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def page_of(record: WorkRecord, anchor: str | None = None, **words: Any) -> str:
    """Return the URL of a record's page."""
    return url_for("work.records.show", record_id=record.id, _anchor=anchor, **words)


def record_facts(record: WorkRecord) -> list[str]:
    """List the facts that identify a record: status, amount, time, place."""
    facts = [record.status.capitalize()]
    if record.amount is not None:
        facts.append(money.dollars(record.amount))
    if record.starts_at is not None:
        facts.append(visit_time(record.starts_at))
    if record.place:
        facts.append(record.place)
    if record.archived_at is not None:
        facts.append("Archived")
    return facts


def is_overdue(record: WorkRecord) -> bool:
    return (
        record.kind is Kind.INVOICE
        and record.status is Status.SENT
        and record.due_on is not None
        and record.due_on < local(now()).date()
    )


def is_past(record: WorkRecord) -> bool:
    """Whether the start of a visit has passed, and it is still planned."""
    return (
        record.status is Status.PLANNED
        and record.starts_at is not None
        and record.starts_at < now()
    )
