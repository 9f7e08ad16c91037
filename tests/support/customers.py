"""A customer of whom everything is held, and a search for what is left of them, byte for byte."""

import hashlib
import io
import json
import random
import re
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
import sqlalchemy as sa
from flask import current_app

from tests.payloads import load
from tests.support import call_events, factories, homes
from tests.support.pictures import noise
from viewer import holdings
from viewer.demo.provider import Provider
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment, User
from viewer.office import filing, records, sharing, trash

Deliver = Callable[..., Any]


@dataclass
class Customer:
    """Somebody who texted, called, was quoted, invoiced and sent a link."""

    number: str
    first: str
    last: str
    mark: str  # a word in everything they and we said
    thread: str
    files: dict[str, bytes] = field(default_factory=dict)  # by what they are

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    @property
    def conversation(self) -> Conversation:
        return db.session.scalars(sa.select(Conversation).filter_by(participants=self.number)).one()

    def media(self) -> list[MediaAttachment]:
        return list(
            db.session.scalars(
                sa.select(MediaAttachment).filter_by(conversation_id=self.conversation.id)
            )
        )

    def events(self, provider: Provider, number: int) -> list[dict[str, Any]]:
        """The deliveries of a contact, a text with two photos, a voicemail and a recorded call."""
        self.files = {
            "photo": noise(320, 200, 40),
            "second": noise(200, 320, 40),
            "voicemail": _hiss(0.2),
            "recording": _hiss(0.3),
        }
        at = {name: provider.serve(content) for name, content in self.files.items()}
        contact, text = load("d3_contact_updated"), load("d3_message_photos")
        person = contact["data"]["resource"]
        person |= {"id": f"CT{self.thread}", "firstName": self.first, "lastName": self.last}
        person["customFields"][0]["value"] = f"12 {self.mark} Lane"
        resource = text["data"]["resource"]
        resource |= {"id": f"ACtext{self.thread}", "text": f"Look at the {self.mark} crack"}
        resource["media"] = [{"url": at["photo"], "type": "image/jpeg"}, {"url": at["second"]}]
        calls = [
            *call_events.voicemail(at["voicemail"], f"It is {self.first}, {self.mark}", number),
            *call_events.recorded(at["recording"], [(1.0, self.mark), (2.0, f"the {self.mark}")]),
        ]
        found = []
        for count, event in enumerate([contact, text, *calls]):
            event["id"] = f"EVcustomer-{number}-{count}"
            written = json.dumps(event)
            for old, new in (
                ("+16175550123", self.number), ("CNtest1", self.thread), ("CNdemo1", self.thread),
                ("ACcall-demo-22", f"ACrec{self.thread}"), ("CTdemo1", f"CT{self.thread}"),
            ):  # fmt: skip
                written = written.replace(old, new)
            found.append(json.loads(written))
        return found


def _hiss(seconds: float) -> bytes:
    """A sound like no other."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(random.randbytes(2 * int(8000 * seconds)))
    return out.getvalue()


def do_business(customer: Customer, by: User) -> None:
    """What staff do: caption, file, quote, invoice, visit, share, trash."""
    home = customer.conversation
    photo, second = [one for one in customer.media() if one.role.value == "attachment"]
    words = f"{customer.first}'s wall, {customer.mark}"
    trash.set_caption(photo, words)
    db.session.commit()
    quote = factories.quote(home, title=f"{customer.last} basement", notes=f"{customer.mark} note")
    filing.link([photo, second], quote, by)
    db.session.commit()
    records.send_quote(quote, by=by, unfinished=True)
    db.session.commit()
    invoice = factories.invoice(
        home, f"INV-{customer.number[-4:]}", title=f"For {customer.name}", amount=120000,
        notes=f"Paid by {customer.first}",
    )  # fmt: skip
    filing.link([photo], invoice, by)
    factories.visit(home, now() + timedelta(days=3), place=f"12 {customer.mark} Lane")
    sharing.create(f"Photos for {customer.name}", [photo], now() + timedelta(days=9), by)
    db.session.commit()
    sharing.clean_copy(photo)
    trash.trash(second, by)
    db.session.commit()


def purge_second(customer: Customer) -> None:
    """One file of theirs lies in quarantine, as if it had been deleted for good."""
    [second] = [one for one in customer.media() if one.state is MediaAttachment.State.TRASHED]
    second.purged_at = now()
    db.session.commit()
    trash.finish_purges()


# --- What is left ----------------------------------------------------------------------------


def needles(customer: Customer) -> dict[str, re.Pattern[bytes]]:
    """Whatever tells of them, however it is written."""
    area, town, line = re.fullmatch(r"\+1(\d{3})(\d{3})(\d{4})", customer.number).groups()
    gap = rb"(?:%2B|%20|[^0-9A-Za-z]){0,4}"
    found = {
        "number": re.compile(gap.join(one.encode() for one in (area, town, line))),
        "first name": _any_case(customer.first),
        "last name": _any_case(customer.last),
        "text": _any_case(customer.mark),
        "thread": _any_case(customer.thread),
    }
    for name, content in customer.files.items():
        found[f"hash of {name}"] = _any_case(hashlib.sha256(content).hexdigest())
        found[f"bytes of {name}"] = re.compile(re.escape(content[-200:]))
    return found


def _any_case(words: str) -> re.Pattern[bytes]:
    return re.compile(re.escape(words.encode()), re.IGNORECASE)


def traces(customer: Customer, *, log: str = "") -> dict[str, set[str]]:
    """Where something of this customer is found: place, and what."""
    found: dict[str, set[str]] = {}
    for place, content in _everything(log):
        if hits := {what for what, one in needles(customer).items() if one.search(content)}:
            found[place] = hits
    return found


def _everything(log: str) -> Iterator[tuple[str, bytes]]:
    db.session.rollback()
    yield "log", log.encode()
    yield from _database_files()
    yield from _store()
    yield from _queue()


def _database_files() -> Iterator[tuple[str, bytes]]:
    if db.engine.dialect.name == "sqlite":
        path = Path(db.engine.url.database)
        for one in path.parent.glob(f"{path.name}*"):
            yield one.name, one.read_bytes()
        return
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("CHECKPOINT"))
        folder, oid = connection.execute(
            sa.text(
                "SELECT current_setting('data_directory'), oid FROM pg_database"
                " WHERE datname = current_database()"
            )
        ).one()
    for one in (Path(folder) / "base" / str(oid)).iterdir():
        yield f"pg:{one.name}", one.read_bytes()


def _store() -> Iterator[tuple[str, bytes]]:
    root = holdings.own().root
    for one in root.rglob("*"):
        yield str(one.relative_to(root)), str(one.relative_to(root)).encode()
        if one.is_file():
            yield str(one.relative_to(root)), one.read_bytes()
    place = homes.own()
    if place is not holdings.own():
        for key, _ in place.keys():  # noqa: SIM118 - a store is no dictionary
            yield f"s3:{key}", key.encode()
            with place.open(key) as file:
                yield f"s3:{key}", file.read()


def _queue() -> Iterator[tuple[str, bytes]]:
    queue = redis.from_url(current_app.config["SETTINGS"].redis_url)
    for key in queue.scan_iter():
        yield f"valkey:{key!r}", key + (queue.dump(key) or b"")


def rows() -> dict[str, dict[Any, tuple[Any, ...]]]:
    """Every row of every table, by its key."""
    db.session.rollback()
    found = {}
    with db.engine.connect() as connection:
        for table in db.metadata.sorted_tables:
            keys = [column.name for column in table.primary_key]
            found[table.name] = {
                tuple(getattr(row, key) for key in keys): tuple(map(repr, row))
                for row in connection.execute(sa.select(table))
            }
    return found


def stored() -> dict[str, str]:
    """Every file of the store, by its key, with the hash of its bytes."""
    place, found = homes.own(), {}
    for key, _ in place.keys():  # noqa: SIM118 - a store is no dictionary
        with place.open(key) as file:
            found[key] = hashlib.sha256(file.read()).hexdigest()
    return found
