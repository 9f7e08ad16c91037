"""The owner hands out what is held about a customer, and has them forgotten."""

import hashlib
import io
import json
import subprocess
import zipfile
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from click.testing import CliRunner

from tests.conftest import BOTH
from tests.support import customers, factories, stored_files
from tests.support.customers import Customer
from viewer import commands
from viewer.extensions import db, now
from viewer.models import AuditEntry, Forgetting, MediaAttachment, User, WebhookEvent
from viewer.office import accounts
from viewer.upkeep import forget

State = Forgetting.State


@pytest.fixture
def dana(deliver: Any, work: Any, provider: Any, client: Any) -> Customer:
    """A customer of whom everything is held."""
    customer = Customer("+16175550177", "Zephyrine", "Quillfeather", "efflorescent", "CNzeph77")
    for event in customer.events(provider, 3):
        assert deliver(event).status_code == 204
    work()
    anna = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    customers.do_business(customer, anna)
    return customer


def _archive(client: Any, customer: Customer) -> zipfile.ZipFile:
    answer = client.post(
        f"/conversations/{customer.conversation.id}/held/archive", data={"number": customer.number}
    )
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    return zipfile.ZipFile(io.BytesIO(answer.data))


@BOTH
def test_the_archive_holds_every_text_file_delivery_and_record(dana, client, tmp_path):
    found = _archive(client, dana)

    found.extractall(tmp_path / "out")
    subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out", check=True
    )
    data = json.loads(found.read("data.json"))
    assert data["number"] == dana.number
    assert data["names"] == [dana.name]
    counts = {"messages": 3, "files": 4, "contacts": 1, "work_records": 3, "shares": 1,
              "deliveries": 6, "conversations": 1, "evidence": 1, "links": 3}  # fmt: skip
    assert {name: data["counts"][name] for name in counts} == counts
    assert data["counts"]["audit_entries"] > 0
    hashes = {hashlib.sha256(found.read(name)).hexdigest() for name in data["file_names"].values()}
    assert hashes == {hashlib.sha256(content).hexdigest() for content in dana.files.values()}
    bodies = {found.read(name) for name in found.namelist() if name.startswith("deliveries/")}
    assert bodies == set(db.session.scalars(sa.select(WebhookEvent.body)))
    index = found.read("index.html").decode()
    for words in (dana.name, "(617) 555-0177", f"Look at the {dana.mark} crack", "basement"):
        assert words in index


def test_the_archive_names_no_staff_and_no_secret(dana, client):
    data = _archive(client, dana).read("data.json").decode()

    assert "crack.example" not in data
    assert "fingerprint" not in data
    assert "passphrase_hash" not in data


def test_what_was_deleted_for_good_is_said_to_be_missing(dana, client):
    customers.purge_second(dana)

    found = _archive(client, dana)

    assert "it was deleted for good" in found.read("MISSING.txt").decode()
    assert len([name for name in found.namelist() if name.startswith("files/")]) == 3


def test_without_a_file_there_is_an_archive_all_the_same(app, client):
    home = factories.customer("+16175550166", "Pat Doe")
    factories.text(home, body="Only words")

    answer = client.post(f"/conversations/{home.id}/held/archive", data={"number": "+16175550166"})

    assert "Only words" in zipfile.ZipFile(io.BytesIO(answer.data)).read("index.html").decode()


def test_words_of_a_customer_do_nothing_in_the_index(app, client):
    home = factories.customer("+16175550166")
    factories.text(home, body="<script>alert(1)</script>")

    answer = client.post(f"/conversations/{home.id}/held/archive", data={"number": "+16175550166"})

    index = zipfile.ZipFile(io.BytesIO(answer.data)).read("index.html").decode()
    assert "<script>" not in index
    assert "&lt;script&gt;" in index


def test_an_export_is_in_the_audit_log_without_saying_of_whom(dana, client):
    _archive(client, dana)

    entry = db.session.scalars(sa.select(AuditEntry).filter_by(action="customer.export")).one()
    assert entry.who == "owner@crack.example"
    assert entry.subject_id == dana.conversation.id
    assert not any(one.search(entry.words.encode()) for one in customers.needles(dana).values())


def test_the_command_writes_the_same_for_its_owner_alone(dana, monkeypatch, tmp_path, settings):
    path = tmp_path / "held.zip"
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    db.session.commit()

    result = CliRunner().invoke(
        commands.viewer, ["customer", "export", "(617) 555-0177", "--to", str(path)]
    )

    assert result.exit_code == 0, result.output
    assert path.stat().st_mode & 0o777 == 0o600
    names = zipfile.ZipFile(path).namelist()
    assert {"index.html", "data.json", "SHA256SUMS"} < set(names)
    assert len([name for name in names if name.startswith("files/")]) == 4


# --- The page ----------------------------------------------------------------------------------


def test_the_page_says_what_is_held_asks_twice_and_can_be_taken_back(dana, client):
    home = dana.conversation.id
    address = f"/conversations/{home}/held"
    page = client.get(address).text
    assert dana.name in page
    assert "<dt>Files</dt><dd>4</dd>" in page

    unsure = client.post(f"{address}/forgetting", data={"reason": "request", "number": dana.number})
    sure = client.post(
        f"{address}/forgetting",
        data={"reason": "request", "sure": "1", "note": "called us", "number": dana.number},
    )
    again = client.post(
        f"{address}/forgetting", data={"reason": "order", "sure": "1", "number": dana.number}
    )

    assert unsure.status_code == 422
    assert (sure.status_code, again.status_code) == (303, 303)
    factories.text(dana.conversation, at=now(), created_at=now() + timedelta(seconds=1))
    page = client.get(address).text
    assert "Waiting" in page
    assert "called us" in page
    assert "1 message came since then" in page
    [found] = db.session.scalars(sa.select(Forgetting)).all()
    assert dana.name in client.get("/forgotten").text
    assert client.post(f"/forgotten/{found.id}/revocation").status_code == 303
    assert "Taken back" in client.get("/forgotten").text
    assert "Forget this customer" in client.get(address).text


def test_the_receipt_is_on_the_page_and_the_number_in_no_address(dana, client):
    address = f"/conversations/{dana.conversation.id}/held"
    client.post(
        f"{address}/forgetting", data={"reason": "request", "sure": "1", "number": dana.number}
    )
    for days in (7.1, 7.2):
        with time_machine.travel(now() + timedelta(days=days), tick=False):
            forget.forget_due(at_once=True)
            forget.clear_own()
            forget.forget_due(at_once=True)
    db.session.expire_all()

    page = client.get("/forgotten").text

    [found] = db.session.scalars(sa.select(Forgetting)).all()
    assert found.receipt["sha256"] in page
    assert not any(one.search(page.encode()) for one in customers.needles(dana).values())
    assert dana.number.removeprefix("+") not in address


@pytest.mark.parametrize("role", ["field", "office"])
def test_only_the_owner_may(role, app, log_in):
    home = factories.customer()
    factories.text(home)
    browser = log_in(role)

    for method, path in (
        ("GET", f"/conversations/{home.id}/held"),
        ("POST", f"/conversations/{home.id}/held/archive"),
        ("POST", f"/conversations/{home.id}/held/forgetting"),
        ("GET", "/forgotten"),
    ):
        assert browser.open(path, method=method).status_code == 403
    assert "Everything held" not in browser.get(f"/conversations/{home.id}").text


def test_whoever_took_the_place_of_another_meanwhile_is_not_forgotten(app, client):
    home = factories.customer("+16175550166,+16175550177")
    factories.text(home, sender="+16175550166")
    wish = {"reason": "request", "sure": "1", "number": "+16175550177"}

    answer = client.post(f"/conversations/{home.id}/held/forgetting?person=1", data=wish)

    assert answer.status_code == 409
    assert db.session.scalars(sa.select(Forgetting)).all() == []


def test_the_commands_ask_take_back_and_print_receipts(dana, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def run(*words: str) -> str:
        db.session.commit()
        result = CliRunner().invoke(commands.viewer, ["customer", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    asked = run("forget", "617-555-0177", "--reason", "request")
    [found] = db.session.scalars(sa.select(Forgetting)).all()
    kept = run("keep", str(found.id))
    run("forget", "617-555-0177", "--reason", "order")
    for days in (7.1, 7.2):
        with time_machine.travel(now() + timedelta(days=days), tick=False):
            run("erase")

    assert f"{found.id} will be erased from" in asked
    assert kept == "The customer stays.\n"
    states = [json.loads(line)["state"] for line in run("receipts").splitlines()]
    assert states == ["revoked", "done"]
    assert customers.traces(dana) == {}


# --- Consent -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words", "plays"),
    [
        ("unknown", "consent not known", True),
        ("announced", "recording announced", True),
        ("agreed", "customer agreed", True),
        ("refused", "The customer refused to be recorded.", False),
    ],
)
def test_a_recording_says_the_consent_and_of_who_refused_it_is_not_played(
    said, words, plays, app, client
):
    home = factories.customer()
    call = factories.text(home, kind="call")
    stored_files.keep(
        message=call,
        role=MediaAttachment.Role.RECORDING,
        media_type=MediaAttachment.MediaType.AUDIO,
        mime_type="audio/mpeg",
        duration_seconds=18.0,
    )

    client.post(f"/conversations/{home.id}/consent", data={"consent": said})

    page = client.get(f"/conversations/{home.id}").text
    assert words in page
    assert ("player__plain" in page) is plays
    assert (
        client.post(f"/conversations/{home.id}/consent", data={"consent": "x"}).status_code == 400
    )
