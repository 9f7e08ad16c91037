"""Evidence: an immutable snapshot of the photos and voicemails from which a quote was priced.

Taken by `records.send_quote` when the quote is sent, and never changed afterwards: unlinking, a
new caption or the trash does not affect it.
"""

import csv
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import joinedload, selectinload

from viewer import holdings, quo
from viewer.config import settings
from viewer.extensions import db, now
from viewer.holdings import Finding
from viewer.models import Evidence, EvidenceItem, MediaAttachment, MediaLink, User, WorkRecord
from viewer.office import customers, findings, money
from viewer.storage import Missing, checksum

State = MediaAttachment.State

MISSING = "The original is missing from the store."
DAMAGED = "The original is damaged."
RESIZED = "The original has another size than it had then."
ALTERED = "The original is not what it was then."
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def take_snapshot(record: WorkRecord, by: User | None) -> Evidence:
    """Snapshot the record's linked media, in order. Does not commit."""
    assert record.sent_at is not None  # noqa: S101 - records.send has set it
    links = db.session.scalars(
        sa.select(MediaLink)
        .join(MediaLink.media)
        .where(MediaLink.record_id == record.id, MediaAttachment.state != State.TRASHED)
        .order_by(MediaLink.position, MediaLink.created_at, MediaLink.id)
        .options(joinedload(MediaLink.media).joinedload(MediaAttachment.message))
    ).all()
    kept = Evidence(
        record_id=record.id,
        taken_at=now(),
        taken_by=by.email if by else "",
        number=record.number,
        title=record.title,
        amount=record.amount,
        customer=customers.customer_of(record.conversation).words,
        sent_at=record.sent_at,
    )
    # Only stored media can be linked, so each has a checksum; it may have been damaged since.
    for position, link in enumerate(link for link in links if link.media.sha256):
        media = link.media
        kept.items.append(
            EvidenceItem(
                media_id=media.id,
                position=position,
                caption=link.caption or media.caption,
                sha256=media.sha256 or "",
                file_size=media.file_size or 0,
                mime_type=media.mime_type or "application/octet-stream",
                file_path=media.file_path,
                sent_at=media.sent_at,
                sender=media.message.sender,
            )
        )
    db.session.add(kept)
    db.session.flush()
    return kept


def snapshots_of(record: WorkRecord) -> list[Evidence]:
    """All snapshots of this quote, newest first: one for each time it was sent."""
    return list(
        db.session.scalars(
            sa.select(Evidence)
            .filter_by(record_id=record.id)
            .order_by(Evidence.taken_at.desc(), Evidence.id)
            .options(selectinload(Evidence.items))
        )
    )


def find_snapshot(record_id: uuid.UUID, evidence_id: uuid.UUID) -> Evidence | None:
    """The snapshot, with its media and their messages loaded."""
    return db.session.scalar(
        sa.select(Evidence)
        .filter_by(id=evidence_id, record_id=record_id)
        .options(
            selectinload(Evidence.items)
            .joinedload(EvidenceItem.media)
            .joinedload(MediaAttachment.message)
        )
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference between the media linked now and those in the snapshot."""

    added: list[MediaLink]  # linked after the snapshot
    unlinked: int  # how many were unlinked since, not counting trashed ones


def difference(kept: Evidence, links: Sequence[MediaLink]) -> Difference:
    priced_from = {item.media_id for item in kept.items}
    linked = {link.media_id for link in links}
    missing = [item for item in kept.items if item.media_id not in linked]
    return Difference(
        [link for link in links if link.media_id not in priced_from],
        sum(item.media.state is not State.TRASHED for item in missing),
    )


# --- Verification --------------------------------------------------------------------------


def trouble(item: EvidenceItem) -> str | None:
    """Why the original differs from the snapshot, judged by its row alone; None if it does not.

    `check_all` reads the bytes.
    """
    media = item.media
    if media.state is State.DAMAGED:
        return MISSING if media.problem == findings.PROBLEMS[Finding.MISSING] else DAMAGED
    if media.file_size != item.file_size:
        return RESIZED
    return None if media.sha256 == item.sha256 else ALTERED


def verify(item: EvidenceItem) -> str | None:
    """Like `trouble`, but also compares the checksum of the bytes. Raises storage.Unavailable."""
    if found := trouble(item):
        return found
    try:
        now_there = checksum(holdings.store_of(item.media).open(item.file_path))
    except Missing:
        return MISSING
    if now_there.size != item.file_size:
        return RESIZED
    return None if now_there.sha256 == item.sha256 else ALTERED


def check_all(kept: Evidence) -> dict[uuid.UUID, Finding]:
    """Verify the checksum of every original that should be stored. Returns findings by media id.

    Slow: hold no transaction open. Raises storage.Unavailable.
    """
    return {
        item.media_id: holdings.check_file(item.media)
        for item in kept.items
        if item.media.state in (State.STORED, State.DAMAGED, State.TRASHED)
    }


def note_findings(kept: Evidence, found: dict[uuid.UUID, Finding]) -> None:
    """Record the findings on the media rows. Does not commit."""
    for item in kept.items:
        if item.media_id in found:
            findings.note_finding(item.media, found[item.media_id])


# --- Manifest ------------------------------------------------------------------------------


def manifest(kept: Evidence, names: dict[uuid.UUID, str], troubles: dict[uuid.UUID, str]) -> str:
    """The evidence as CSV: first the quote, then a row for each file. Formulas are escaped.

    `names` and `troubles` are keyed by media id: the file name in the ZIP, and why it is missing.
    """
    out = io.StringIO()
    table = csv.writer(out)

    def row(*cells: object) -> None:
        table.writerow([_safe(str(cell)) for cell in cells])

    def moment(at: object) -> str:
        return f"{at:%Y-%m-%d %H:%M:%S %Z}"

    zone = settings().zone
    row("Quote", kept.number or "")
    row("Title", kept.title)
    row("Amount", "" if kept.amount is None else money.dollars(kept.amount))
    row("Customer", kept.customer)
    row("Sent", moment(kept.sent_at.astimezone(zone)))
    row("Kept", moment(kept.taken_at.astimezone(zone)))
    row("By", kept.taken_by)
    row("Files", len(kept.items))
    row("Checked", moment(now().astimezone(zone)))
    row()
    row("No.", "File", "SHA-256", "Bytes", "Type", "Received", "From", "Caption", "Now")
    for number, item in enumerate(kept.items, 1):
        row(
            number,
            names[item.media_id],
            item.sha256,
            item.file_size,
            item.mime_type,
            moment(item.sent_at.astimezone(zone)),
            quo.display(item.sender) if item.sender else "",
            item.caption or "",
            troubles.get(item.media_id, "The same bytes as then."),
        )
    return "\ufeff" + out.getvalue()  # the BOM, by which Excel recognizes UTF-8


def _safe(cell: str) -> str:
    """Escape CSV injection: a spreadsheet evaluates a cell that begins like a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
