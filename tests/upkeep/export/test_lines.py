"""What the manifest says of each original."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import jsonschema_rs
import pytest

from tests.conftest import BOTH
from tests.support import factories
from tests.support.stored_files import keep
from viewer.extensions import now
from viewer.models import MediaAttachment, WorkRecord
from viewer.upkeep.export import lines

State, Trouble = MediaAttachment.State, MediaAttachment.Trouble
Kind, Status = WorkRecord.Kind, WorkRecord.Status
SENT = datetime(2026, 9, 21, 16, 0, 0, 250_000, tzinfo=UTC)


@BOTH
def test_a_line_says_what_the_file_is_and_what_became_of_the_work(run, app):
    customer = factories.customer("+16175550123", "Dana Whitfield")
    media = keep(
        b"\xff\xd8\xff\xe0 a crack",
        factories.text(customer, SENT),
        width=4032,
        height=3024,
        caption="north wall, 3 mm",
        downloaded_at=SENT + timedelta(seconds=2),
    )
    quote = factories.quote(customer, status=Status.APPROVED, amount=125_000, title="Crack")
    invoice = factories.invoice(customer, "INV-2031", status=Status.PAID, amount=125_000)
    factories.evidence(quote, media)
    factories.link(quote, media, caption="the wider one")
    factories.link(invoice, media)

    [line] = run()

    root = app.config["SETTINGS"].media_root
    assert {name: line[name] for name in line if name != "links"} == {
        "id": str(media.id),
        "key": media.file_path,
        "address": f"file://{root}/{media.file_path}",
        "sha256": hashlib.sha256(b"\xff\xd8\xff\xe0 a crack").hexdigest(),
        "file_size": 12,
        "mime_type": "image/jpeg",
        "kind": "photo",
        "role": "attachment",
        "availability": "here",
        "width": 4032,
        "height": 3024,
        "duration_seconds": None,
        "direction": "incoming",
        "sent_at": "2026-09-21T16:00:00.250000Z",
        "stored_at": "2026-09-21T16:00:02.250000Z",
        "conversation_id": str(customer.id),
        "message_id": str(media.message_id),
        "customer_id": str(customer.id),
        "caption": "north wall, 3 mm",
        "is_not_needed": False,
        "outcome": "paid",
        "priced_from": [str(quote.id)],
        "consent": None,
    }
    assert [one["record_id"] for one in line["links"]] == sorted(map(str, (quote.id, invoice.id)))
    assert next(one for one in line["links"] if one["kind"] == "quote") == {
        "record_id": str(quote.id),
        "kind": "quote",
        "status": "approved",
        "is_archived": False,
        "amount": 125_000,
        "visit": None,
        "sent_at": None,
        "starts_at": None,
        "due_on": None,
        "position": 0,
        "caption": "the wider one",
    }


@BOTH
def test_lines_are_sorted_by_id_over_all_batches(run, monkeypatch):
    monkeypatch.setattr("viewer.upkeep.export.reading.BATCH", 2)
    customer = factories.customer()
    media = factories.photos(customer, 5)
    factories.link(factories.quote(customer), *media)

    found = run()

    assert [line["id"] for line in found] == sorted(str(one.id) for one in media)
    assert all(len(line["links"]) == 1 for line in found)


def test_nobody_is_named_but_by_the_key(run):
    customer = factories.customer("+16175550123", "Dana Whitfield")
    media = keep(message=factories.text(customer, body="I am Dana"))
    quote = factories.quote(customer, title="Dana's wall", notes="call Dana", number="Q-104")
    factories.link(quote, media)

    [line] = run(links=True)

    line.pop("key")
    said = json.dumps(line)
    assert "Dana" not in said
    assert "555" not in said.replace(line["sha256"], "").replace(line["id"], "")


def test_a_customer_is_the_same_on_each_line_of_ours(run):
    first, second = factories.customer("+16175550123"), factories.customer("+16175550123")
    second.line, second.created_at = "PN2", first.created_at + timedelta(days=1)
    other, nobody = factories.customer("+16175550124"), factories.customer("")
    for one in (first, second, other, nobody):
        factories.photos(one)

    found = {line["conversation_id"]: line["customer_id"] for line in run()}

    assert found == {
        str(first.id): str(first.id),
        str(second.id): str(first.id),
        str(other.id): str(other.id),
        str(nobody.id): None,
    }


def test_only_whole_and_cut_originals_are_in_it(run):
    message = factories.text(factories.customer())
    [whole, cut, unneeded] = factories.files(message, 3)
    cut.trouble, unneeded.not_needed_at = Trouble.INCOMPLETE, now()
    for state in (State.TRASHED, State.DAMAGED, State.PENDING, State.NEEDS_ATTENTION, State.CLOSED):
        factories.files(message, state=state)

    found = {line["id"]: (line["availability"], line["is_not_needed"]) for line in run()}

    assert found == {
        str(whole.id): ("here", False),
        str(cut.id): ("incomplete", False),
        str(unneeded.id): ("here", True),
    }


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ([], None),
        ([(Kind.QUOTE, Status.SENT, False)], "open"),
        ([(Kind.QUOTE, Status.APPROVED, False), (Kind.INVOICE, Status.SENT, False)], "approved"),
        ([(Kind.QUOTE, Status.DECLINED, False), (Kind.INVOICE, Status.PAID, False)], "paid"),
        ([(Kind.APPOINTMENT, Status.DONE, False), (Kind.QUOTE, Status.DECLINED, True)], "declined"),
        ([(Kind.APPOINTMENT, Status.DONE, False)], "done"),
        ([(Kind.APPOINTMENT, Status.DONE, False), (Kind.QUOTE, Status.DRAFT, False)], "open"),
        ([(Kind.QUOTE, Status.DRAFT, True), (Kind.INVOICE, Status.VOID, False)], "canceled"),
    ],
)
def test_the_outcome_is_the_first_that_is_true_of_any_record(said, outcome):
    links = [
        lines.LinkedWork.model_construct(kind=kind, status=status, is_archived=is_archived)
        for kind, status, is_archived in said
    ]

    assert lines.outcome_of(links) == outcome


def test_the_schema_goes_with_it_and_holds(run, place):
    customer = factories.customer()
    media = keep(caption="„ß“ \u2028 0", duration_seconds=18.0)
    visit = factories.visit(customer, SENT, visit="Inspection", status=Status.DONE)
    factories.link(visit, media)
    found = run()
    schema = jsonschema_rs.validator_for(
        json.loads((place / "schema.json").read_text()), validate_formats=True
    )

    schema.validate(found[0])
    assert found[0]["links"][0]["visit"] == "Inspection"
    for wrong in ({"sha256": "0"}, {"sent_at": "yesterday"}, {"consent": True}, {"name": "Dana"}):
        assert not schema.is_valid(found[0] | wrong)
