"""What a quote was priced from: it stays what it was, and says plainly what is otherwise now."""

import csv
import hashlib
import io
import subprocess
import zipfile

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.factories import NOW, customer, photos, quote
from tests.support.pages import Page
from tests.support.pictures import picture
from tests.support.sounds import tone
from viewer import holdings
from viewer.extensions import db
from viewer.models import Evidence, EvidenceItem, MediaAttachment, User, WorkRecord
from viewer.office import evidence, filing, records, trash

State, Status = MediaAttachment.State, WorkRecord.Status


@pytest.fixture
def sent(deliver, work, provider, message, client):
    """A quote that was sent with three photos and a recording; its evidence, and its files."""

    def send(**values):
        bodies = [picture(colour=colour) for colour in ("red", "green", "blue")] + [tone()]
        types = ["image/jpeg"] * 3 + ["audio/wav"]
        texts = [
            {"url": provider.serve(body), "type": declared}
            for body, declared in zip(bodies, types, strict=True)
        ]
        assert deliver(message(media=texts).payload()).status_code == 204
        work()
        media = db.session.scalars(
            sa.select(MediaAttachment).order_by(MediaAttachment.position)
        ).all()
        assert [one.state for one in media] == [State.STORED] * 4
        record = records.create(
            WorkRecord.Kind.QUOTE,
            media[0].conversation,
            {"title": "Wall", "amount": 125000, **values},
        )
        filing.link(media, record, None)
        filing.set_caption(filing.links_of(record)[0], "=north wall", None)
        db.session.commit()
        client.post(f"/work/{record.id}/status", data={"status": "sent"})
        db.session.expire_all()
        [kept] = evidence.snapshots_of(record)
        return record, kept, list(media), bodies

    return send


def page_of(client, record, kept):
    answer = client.get(f"/work/{record.id}/evidence/{kept.id}")
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def archive_of(client, record, kept):
    answer = client.get(f"/work/{record.id}/evidence/{kept.id}/zip")
    assert answer.status_code == 200, answer.text
    return zipfile.ZipFile(io.BytesIO(answer.data))


def rows_of(archive):
    text = archive.read("manifest.csv").decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text)))


@BOTH
def test_what_a_quote_was_priced_from_is_kept_when_it_is_sent(sent, client):
    record, kept, media, bodies = sent(title="Basement")

    page = page_of(client, record, kept)

    hashes = [hashlib.sha256(body).hexdigest() for body in bodies]
    assert [item.sha256 for item in kept.items] == hashes
    assert [item.caption for item in kept.items] == ["=north wall", None, None, None]
    assert (kept.number, kept.amount, kept.taken_by) == ("Q-101", 125000, "owner@crack.example")
    places = [page.text.index(digest) for digest in hashes]
    assert places == sorted(places)
    for words in ("Q-101", "Basement", "$1,250.00", "owner@crack.example", "(617) 555-0123"):
        assert words in page.text
    assert "Monday, September 21, 2026, 10:13:19 AM EDT" in page.text
    assert [image["src"] for image in page.all("img")] == [
        f"/media/{one.id}/thumbnail" for one in media[:3]
    ]
    newest = client.get(f"/work/{record.id}/evidence")
    assert newest.location == f"/work/{record.id}/evidence/{kept.id}"


@BOTH
def test_it_is_the_same_after_unlinking_renaming_repricing_and_the_trash(sent, client):
    record, kept, media, bodies = sent()
    before = [
        (item.media_id, item.position, item.caption, item.sha256, item.file_path)
        for item in kept.items
    ]

    filing.unlink([media[1]], record, None)
    media[0].caption = "Another"
    filing.set_caption(filing.links_of(record)[0], "Renamed", None)
    filing.reorder_links(record, [link.id for link in reversed(filing.links_of(record))])
    db.session.commit()
    client.post(f"/media/{media[2].id}/trash", data={"sure": "yes"})
    db.session.expire_all()
    assert media[2].state is State.TRASHED
    records.change(record, {"amount": 999, "number": "Q-7", "title": "Later"})
    db.session.commit()
    db.session.expire_all()
    page = page_of(client, record, kept)

    [again] = evidence.snapshots_of(record)
    assert [
        (item.media_id, item.position, item.caption, item.sha256, item.file_path)
        for item in again.items
    ] == before
    assert "What Q-101 was priced from" in page.text
    assert "=north wall" in page.text
    assert "Renamed" not in page.text
    assert "$1,250.00 $9.99 now" in page.text
    assert "It is not linked to this quote any more." in page.text
    assert "It lies in the trash now." in page.text
    archive = archive_of(client, record, kept)
    names = [name for name in archive.namelist() if name.endswith((".jpg", ".wav"))]
    assert [archive.read(name) for name in sorted(names)] == bodies


def test_what_is_added_later_is_said_to_be(sent, client):
    record, kept, media, _ = sent()
    filing.link(photos(media[0].conversation, 1), record, None)
    filing.unlink([media[0]], record, None)
    trash.trash(media[1], db.session.scalars(sa.select(User)).first())  # it is linked still
    db.session.commit()

    shown, page = client.get(f"/work/{record.id}").text, page_of(client, record, kept)

    assert "1 photo was added after it was sent" in " ".join(shown.split())
    assert "1 file that it was priced from is not linked any more." in " ".join(shown.split())
    assert "Added after it was sent" in page.text
    assert len(kept.items) == 4


def test_what_is_priced_anew_has_a_list_of_its_own(sent, client):
    record, kept, media, _ = sent()
    client.post(f"/work/{record.id}/status", data={"status": "draft"})
    draft = client.get(f"/work/{record.id}").text
    filing.unlink(media[:3], record, None)
    db.session.commit()
    client.post(f"/work/{record.id}/status", data={"status": "sent"})

    [newest, oldest] = evidence.snapshots_of(record)
    assert (len(newest.items), len(oldest.items), oldest.id) == (1, 4, kept.id)
    assert "added after" not in draft
    assert "Each time it was sent" in page_of(client, record, kept).text
    assert "added after" not in client.get(f"/work/{record.id}").text


def test_a_quote_without_files_says_so(client, app):
    record = quote(customer(name="Rosa Lindqvist"), title="Wall", amount=125000)

    early = client.get(f"/work/{record.id}/evidence")
    client.post(f"/work/{record.id}/status", data={"status": "sent"})
    [kept] = evidence.snapshots_of(record)

    assert early.status_code == 404
    page = page_of(client, record, kept)
    assert "No photo or voicemail was linked when the quote was sent." in page.text
    assert page.links("/zip") == []


def test_the_day_it_was_sent_may_lie_before_the_day_it_was_kept(client, app):
    record = quote(customer(name="Rosa Lindqvist"), title="Wall", amount=125000)

    with time_machine.travel(NOW, tick=False):
        client.post(f"/work/{record.id}/status", data={"status": "sent", "sent_on": "2026-09-18"})
        [kept] = evidence.snapshots_of(record)
        page = page_of(client, record, kept)

    assert "Sent September 18, 2026" in page.text
    assert "Kept Monday, September 21, 2026, 12:00:00 PM EDT" in page.text


# --- The archive ---------------------------------------------------------------------------


def test_the_archive_holds_the_files_with_checksums_and_a_table(sent, client, tmp_path):
    record, kept, _, bodies = sent()

    answer = client.get(f"/work/{record.id}/evidence/{kept.id}/zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    archive.extractall(tmp_path / "unpacked")
    check = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "unpacked", capture_output=True
    )

    assert check.returncode == 0, check.stdout
    assert "Q-101 priced from" in answer.headers["Content-Disposition"]
    names = sorted(name for name in archive.namelist() if name[0].isdigit())
    assert names[0] == "01 photo 2026-09-21.jpg"
    assert [archive.read(name) for name in names] == bodies
    rows = rows_of(archive)
    assert ["Amount", "$1,250.00"] in rows
    head = next(index for index, row in enumerate(rows) if row[:1] == ["No."])
    assert [row[1] for row in rows[head + 1 :]] == names
    assert [row[2] for row in rows[head + 1 :]] == [item.sha256 for item in kept.items]
    assert {row[8] for row in rows[head + 1 :]} == {"The same bytes as then."}


def test_no_cell_of_the_table_is_a_formula(sent, client):
    record, kept, _, _ = sent(title="+cmd|' /C calc'!A0")
    signs = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]
    for item, sign in zip(kept.items, signs, strict=False):
        item.caption = sign
    kept.customer = "@nobody"
    db.session.commit()

    cells = [cell for row in rows_of(archive_of(client, record, kept)) for cell in row]

    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "'=1+1" in cells
    assert "'@nobody" in cells


@pytest.mark.proof
@pytest.mark.parametrize("harm", ["missing", "shorter", "other", "damaged"])
def test_a_file_that_is_not_what_it_was_is_said_and_never_hidden(sent, client, harm):
    record, kept, media, bodies = sent()
    path = holdings.own().root / media[1].file_path
    path.chmod(0o644)
    if harm == "missing":
        path.unlink()
    elif harm == "shorter":
        path.write_bytes(bodies[1][:-1])
    elif harm == "other":  # as long as before: only reading it tells
        path.write_bytes(bodies[1][:-1] + bytes([bodies[1][-1] ^ 1]))
    else:
        media[1].state = State.DAMAGED
        db.session.commit()

    archive = archive_of(client, record, kept)
    before = page_of(client, record, kept)
    checked = client.post(f"/work/{record.id}/evidence/{kept.id}/checks", follow_redirects=True)
    page = page_of(client, record, kept)

    words = {
        "missing": "The original is missing from the store.",
        "shorter": "The original has another size than it had then.",
        "other": "The original is not what it was then.",
        "damaged": "The original is damaged",
    }[harm]
    missing = archive.read("MISSING.txt").decode()
    assert "02 photo 2026-09-21.jpg" in missing
    assert words in missing
    assert not [name for name in archive.namelist() if name.startswith("02")]
    assert len([name for name in archive.namelist() if name[:2] in ("01", "03", "04")]) == 3
    assert next(row[8] for row in rows_of(archive) if row[:1] == ["2"]).startswith(words)
    # The page asks the row: it says what the last check found, and a check what the bytes are.
    if harm == "damaged":
        assert words in before.text
        assert "Checked 4 files: the same bytes as then." in checked.text
        assert "The original" not in page.text
    else:
        assert "Checked 4 files: 1 not as then." in checked.text
        assert (words if harm == "missing" else "The original is damaged") in page.text


@pytest.mark.on_folder("takes the file off its disk")
def test_the_page_of_evidence_does_not_ask_the_disk(sent, client, tmp_path):
    record, kept, _, _ = sent()
    (tmp_path / "media").rename(tmp_path / "unmounted")

    page = page_of(client, record, kept)
    checked = client.post(f"/work/{record.id}/evidence/{kept.id}/checks", follow_redirects=True)

    assert "The original" not in page.text
    assert "They could not be checked now." in checked.text
    assert "is it mounted?" in checked.text


def test_the_office_may_check_evidence_and_the_field_may_not(sent, log_in):
    record, kept, _, _ = sent()
    address = f"/work/{record.id}/evidence/{kept.id}/checks"
    office, field = log_in("office"), log_in("field")

    assert 'action="' + address in office.get(address.removesuffix("/checks")).text
    assert office.post(address).status_code == 303
    assert 'action="' + address not in field.get(address.removesuffix("/checks")).text
    assert field.post(address).status_code == 403


def test_what_a_quote_was_priced_from_is_never_given_up(sent, client):
    _, _, media, _ = sent()
    client.post(f"/media/{media[0].id}/trash", data={"sure": "yes"})
    filing.unlink([media[0]], db.session.scalars(sa.select(WorkRecord)).one(), None)
    db.session.commit()

    with time_machine.travel(NOW + trash.KEPT * 20, tick=False):
        assert trash.purgeable() == []


def test_the_evidence_of_one_quote_is_not_reached_through_another(sent, client):
    _, kept, media, _ = sent()
    other = quote(media[0].conversation)

    answers = [
        client.get(f"/work/{other.id}/evidence/{kept.id}{more}").status_code
        for more in ("", "/zip")
    ]

    assert answers == [404, 404]


def test_nothing_but_sending_writes_evidence(sent, client):
    record, _, _, _ = sent()
    for status in ("approved", "sent", "declined", "sent"):
        client.post(f"/work/{record.id}/status", data={"status": status})

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Evidence)) == 1
    assert db.session.scalar(sa.select(sa.func.count()).select_from(EvidenceItem)) == 4
