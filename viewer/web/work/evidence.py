"""Evidence: the snapshot of files that a quote was priced from, as a printable page and a ZIP."""

import uuid
from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from viewer import quo
from viewer.extensions import db
from viewer.holdings import Finding
from viewer.models import Evidence, EvidenceItem, MediaAttachment
from viewer.office import evidence, filing
from viewer.office.names import names_of
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.web.access import Role, needs, the_user
from viewer.web.formatting import local
from viewer.web.media import zips
from viewer.web.read_counts import note_read
from viewer.web.wording import what
from viewer.web.work.selection import find_record

bp = Blueprint("evidence", __name__)

State = MediaAttachment.State


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a snapshot, as it was then and is now."""

    item: EvidenceItem
    sender: str
    picture: str | None  # URL of its thumbnail, if the current user may see it
    is_shown: bool  # whether its own pages show it: false in the trash
    now: list[str]  # what has changed since, in words


@bp.get("/work/<uuid:record_id>/evidence")
def newest(record_id: uuid.UUID) -> Response:
    """Redirect to the snapshot of the last time the quote was sent."""
    found = evidence.snapshots_of(find_record(record_id))
    if not found:
        abort(404, "This quote was not sent yet, so nothing was kept.")
    return redirect(url_for(".show", record_id=record_id, evidence_id=found[0].id))


@bp.get("/work/<uuid:record_id>/evidence/<uuid:evidence_id>")
def show(record_id: uuid.UUID, evidence_id: uuid.UUID) -> str:
    """Show what the quote was priced from, as it was then, and what has changed since."""
    record, kept = find_record(record_id), _find_evidence(record_id, evidence_id)
    links = filing.links_of(record)
    others = evidence.snapshots_of(record)
    return render_template(
        "work/evidence.html",
        record=record,
        kept=kept,
        pieces=_pieces(kept, {link.media_id for link in links}),
        others=others,
        added=evidence.difference(kept, links).added,
        is_office=the_user().role.covers(Role.OFFICE),
    )


@bp.get("/work/<uuid:record_id>/evidence/<uuid:evidence_id>/zip")
def download(record_id: uuid.UUID, evidence_id: uuid.UUID) -> Response:
    """Download the originals and a manifest as a ZIP. Verifies every checksum first: the manifest
    states which files are damaged, missing or unchanged. 503 if the store does not answer."""
    kept = _find_evidence(record_id, evidence_id)
    names = {item.media_id: _file_name(item) for item in kept.items}
    db.session.commit()  # release the transaction before originals are read
    try:
        checks = {item.media_id: evidence.verify(item) for item in kept.items}
    except Unavailable as trouble:
        abort(503, str(trouble))
    troubles = {media_id: words for media_id, words in checks.items() if words}
    note_read("download", ("record", record_id), "its evidence as a ZIP")
    return zips.answer(
        [
            zips.Entry(item.media, names[item.media_id], troubles.get(item.media_id))
            for item in kept.items
        ],
        f"{kept.number or 'Quote'} priced from, {local(kept.sent_at):%Y-%m-%d}.zip",
        {"manifest.csv": evidence.manifest(kept, names, troubles)},
    )


@bp.post("/work/<uuid:record_id>/evidence/<uuid:evidence_id>/checks")
@needs(Role.OFFICE)
def check_all(record_id: uuid.UUID, evidence_id: uuid.UUID) -> Response:
    """Verify the checksum of every original in the snapshot; record the findings on the rows."""
    kept = _find_evidence(record_id, evidence_id)
    db.session.commit()  # release the transaction before originals are read
    try:
        findings = evidence.check_all(kept)
    except Unavailable as trouble:
        flash(f"They could not be checked now. {trouble}", "error")
    else:
        evidence.note_findings(kept, findings)
        db.session.commit()
        bad = sum(finding is not Finding.SAME for finding in findings.values())
        checked = f"Checked {counted(len(findings), 'file')}"
        if bad:
            flash(f"{checked}: {bad} not as then.", "error")
        else:
            flash(f"{checked}: the same bytes as then.", "done")
    return redirect(url_for(".show", record_id=record_id, evidence_id=evidence_id), 303)


def _pieces(kept: Evidence, linked: set[uuid.UUID]) -> list[Piece]:
    names = names_of({item.sender for item in kept.items if item.sender})
    return [
        Piece(
            item,
            _sender(item, names),
            _picture(item.media),
            item.media.state is not State.TRASHED,
            _since(item, is_linked=item.media_id in linked),
        )
        for item in kept.items
    ]


def _sender(item: EvidenceItem, names: dict[str, str]) -> str:
    """Dana Whitfield, (617) 555-0123"""
    if item.sender is None:
        return "an unknown number"
    return ", ".join(filter(None, (names.get(item.sender), quo.display(item.sender))))


def _picture(media: MediaAttachment) -> str | None:
    if media.thumbnail_path is None:
        return None
    if media.state is State.STORED:
        return url_for("media.files.thumbnail", media_id=media.id)
    if media.state is State.TRASHED and the_user().role.covers(Role.OFFICE):
        return url_for("media.trash.thumbnail", media_id=media.id)
    return None


def _since(item: EvidenceItem, *, is_linked: bool) -> list[str]:
    media, found = item.media, []
    if trouble := evidence.trouble(item):
        found.append(trouble)
    if media.state is State.TRASHED:
        found.append("It lies in the trash now.")
    if not is_linked and media.state is not State.TRASHED:
        found.append("It is not linked to this quote any more.")
    return found


def _file_name(item: EvidenceItem) -> str:
    """03 photo 2026-09-21.jpg"""
    ending = item.file_path.rpartition(".")[2]
    day = local(item.sent_at).date().isoformat()
    return f"{item.position + 1:02} {what(item.media)} {day}.{ending}"


def _find_evidence(record_id: uuid.UUID, evidence_id: uuid.UUID) -> Evidence:
    kept = evidence.find_snapshot(record_id, evidence_id)
    if kept is None:
        abort(404, "There is no such evidence.")
    return kept
