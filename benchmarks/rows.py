"""The rows of a company that never was: three years, made by chance but always alike."""

import itertools
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from viewer.models import SearchEntry
from viewer.models.searching import stamp_of
from viewer.search.tokens import digits_of, endings_of

FILM = ("video", "attachment", "video/mp4")
LEAFLET = ("document", "attachment", "application/pdf")
NOW = datetime.now(UTC).replace(microsecond=0)
YEARS = timedelta(days=3 * 365)
LINE = "PNbench"
OURS = "+16175550100"

# What contractors' customers say most; behind them come thirty thousand words that nobody knows.
MUCH_SAID = """
the to a is and i in it you crack we of on for wall basement water that can foundation have my this
be at will photo there are not was when quote from if with tomorrow your out me so leak sump corner
rain morning price do epoxy floor seal thanks window gutter footing estimate
"""
FIRST_NAMES = "Maria James Linda Robert Ana David Rosa Wei Fatima John Priya Luis Karen Ahmed"
PARTS = "ba co der fin gal hol ker lan mor ney per quin ras sen tor ville wick yan"
RARE = "quinsigamond"  # in five messages, however many there are
FREQUENT, FIRST, SYLLABLES = MUCH_SAID.split(), FIRST_NAMES.split(), PARTS.split()
FIRST += [f"{a}{b}" for a in ("Jo", "Ka", "Le", "Mi", "Ta", "Vi") for b in ("ana", "rik", "len")]


class Company:
    """Rows of a company that never was, conversation by conversation."""

    def __init__(self, messages: int) -> None:
        self.chance = random.Random(messages)
        self.messages, self.media = messages, messages // 10
        self.users: list[uuid.UUID] = []
        self.storage: uuid.UUID | None = None
        self.words = [*FREQUENT, *self._vocabulary()]
        # Zipf: the word of rank n is said 1/n as often as the first.
        self.weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.words))))
        self.taken: set[int] = set()

    def _vocabulary(self) -> list[str]:
        return [
            "".join(self.chance.choices(SYLLABLES, k=self.chance.randint(2, 5)))
            for _ in range(30_000)
        ]

    def id(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)

    def text(self, least: int, most: int) -> str:
        count = self.chance.randint(least, most)
        return " ".join(self.chance.choices(self.words, cum_weights=self.weights, k=count))

    def rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Table and values, in the order of COLUMNS."""
        written = 0
        # The rare word is said at five places, whatever the size.
        rare = {self.messages * part // 5 + 7 for part in range(5)}
        while written < self.messages:
            length = min(
                max(1, round(self.chance.lognormvariate(2.2, 1.3))), self.messages - written, 20_000
            )
            told = {place - written for place in rare if written <= place < written + length}
            yield from self._conversation(written, length, told)
            written += length

    def _conversation(
        self, count: int, length: int, rare: set[int]
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        numbers = [f"+1{chance.choice('2345678')}{chance.randrange(10**9):09}"]
        if chance.random() < 0.03:
            numbers = sorted(
                [*numbers, f"+1{chance.choice('2345678')}{chance.randrange(10**9):09}"]
            )
        people = []
        contacts: list[tuple[str, tuple[Any, ...]]] = []
        for number in numbers:
            if chance.random() < 0.7:
                contact, first = self.id(), chance.choice(FIRST)
                last = "".join(chance.choices(SYLLABLES, k=2)).capitalize()
                company = f"{last} Homes" if chance.random() < 0.1 else None
                contacts.append(
                    ("contacts", (contact, f"CT{contact.hex}", first, last, company, False, [], {}))
                )
                contacts.append(("contact_numbers", (contact, number)))
                people.append(f"{first} {last} {company or ''}".lower())
            people += [number[1:], *endings_of(digits_of(number))]
        # However long, it lies within the three years: nothing is heaped up at their end.
        steps = [chance.lognormvariate(9.5, 1.8) for _ in range(length)]
        room, lasts = YEARS.total_seconds() - 600, sum(steps)
        if lasts > room:
            steps, lasts = [step * room / lasts for step in steps], room
        begun = moment = NOW - timedelta(seconds=lasts + (room - lasts) * chance.random() + 600)
        messages = []
        for index, step in enumerate(steps):
            moment += timedelta(seconds=step)
            messages.append(self._message(identity, numbers, moment, index in rare))
        messages.sort(key=lambda rows: rows[0][1][8])
        latest = messages[-1][0][1][8]
        yield "conversations", (identity, ",".join(numbers), LINE, begun, latest)
        yield from contacts
        for rows in messages:
            yield from rows
        day = 86_400_000_000
        entry = self._free(SearchEntry.PEOPLE + stamp_of(latest) // day * day + identity.int % day)
        yield "search_entries", (entry, None, identity, latest, " ".join(people))
        # One reads everything, one some of it, one nothing at all.
        incoming = [row for rows in messages for table, row in rows if table == "messages"]
        if chance.random() < max(0.005, min(0.3, 3_000 / self.messages)):
            yield "unread", (self.users[0], identity, incoming[-1][8])
        yield "unread", (self.users[1], identity, incoming[0][8])

    def _message(
        self, conversation: uuid.UUID, numbers: list[str], moment: datetime, rare: bool
    ) -> list[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        incoming = chance.random() < 0.6
        sender = chance.choice(numbers) if incoming else OURS
        is_call = chance.random() < 0.12
        body = voicemail = transcript = summary = None
        media: list[tuple[str, str, str]] = []
        if not is_call:
            body = self.text(2, 24) + (f" {RARE}" if rare else "")
            if incoming and chance.random() < 0.075:
                media = [("photo", "attachment", "image/jpeg")] * chance.choice((1, 1, 1, 2, 2, 4))
                if chance.random() < 0.06:
                    media = [chance.choice((FILM, LEAFLET))]
        elif incoming and chance.random() < 0.25:
            voicemail = self.text(8, 40) + (f" {RARE}" if rare else "")
            media = [("audio", "voicemail", "audio/mpeg")]
        else:
            body = RARE if rare else None
            if chance.random() < 0.15:
                media = [("audio", "recording", "audio/mpeg")]
                transcript = [
                    {"text": self.text(3, 15), "start": 4.0 * n, "end": 4.0 * n + 3,
                     "number": sender, "user": None if n % 2 else "USbench"}
                    for n in range(8)
                ]  # fmt: skip
                summary = [self.text(6, 14)]
        rows: list[tuple[str, tuple[Any, ...]]] = [
            (
                "messages",
                (
                    identity, conversation, f"ACbench-{identity.hex[:24]}",
                    "call" if is_call else "text", "incoming" if incoming else "outgoing", sender,
                    body, "delivered", moment, moment, voicemail is not None or None, voicemail,
                    transcript, summary, {},
                ),
            )
        ]  # fmt: skip
        # Made of folded words, it needs no folding.
        said = [part for part in (body, voicemail, *(summary or ())) if part]
        said += [line["text"] for line in transcript or ()]
        if said:
            stamp = stamp_of(moment) // 1000 * 1000 + identity.int % 1000
            rows.append(
                ("search_entries",
                 (self._free(stamp), identity, None, moment, " ".join(said)))
            )  # fmt: skip
        for position, (kind, role, mime) in enumerate(media):
            rows += self._media(conversation, identity, position, kind, role, mime, moment)
        return rows

    def _media(
        self,
        conversation: uuid.UUID,
        message: uuid.UUID,
        position: int,
        kind: str,
        role: str,
        mime: str,
        moment: datetime,
    ) -> Iterator[tuple[str, tuple[Any, ...]]]:
        chance, identity = self.chance, self.id()
        # So many that the inbox's page is full in the small company, too.
        is_recent = moment > NOW - timedelta(days=100)
        troubled = chance.random() < (0.01 if self.media > 10_000 else 0.08)
        unfiled = role == "attachment" and (chance.random() < (0.5 if is_recent else 0.02))
        linked = role == "attachment" and not unfiled and not troubled and chance.random() < 0.4
        stem = identity.hex
        yield (
            "media_attachments",
            (
                identity, conversation, message, position, role, f"{stem}.x", stem, None,
                None if troubled else 100_000, None if troubled else mime,
                None if troubled else f"{identity.hex}{identity.hex}",
                "https://media.example/x", f"{identity.hex}",
                "needs_attention" if troubled else "stored", 1, 1, kind,
                1600, 1200, 20.0 if kind == "audio" else None,
                "waiting" if troubled else "made", 0,
                None if troubled else f"{stem}.thumb.jpg", None if troubled else f"{stem}.p.jpg",
                [chance.randrange(100) for _ in range(60)] if kind == "audio" else None,
                unfiled, moment if linked else None, moment, moment, {},
                None if troubled else self.storage, *[None if troubled else moment] * 2,
            ),
        )  # fmt: skip
        if linked:
            record = self.id()
            yield (
                "work_records",
                (record, "quote", conversation, f"Q-{record.hex[:12]}", "A wall", "sent", 120_000,
                 "", moment, moment),
            )  # fmt: skip
            yield "media_links", (self.id(), identity, record, 0, moment)

    def _free(self, stamp: int) -> int:
        while stamp in self.taken:
            stamp += 1
        self.taken.add(stamp)
        return stamp


COLUMNS = {
    "conversations": "id participants line created_at latest_at",
    "contacts": "id provider_id first_name last_name company deleted known_numbers said",
    "contact_numbers": "contact_id number",
    "messages": "id conversation_id provider_id kind direction sender body status sent_at"
    " created_at has_voicemail voicemail_transcript transcript summary said",
    "media_attachments": "id conversation_id message_id position role file_path file_stem"
    " file_name file_size mime_type sha256 openphone_url source_key state attempts failures"
    " media_type width height duration_seconds copy_state copy_attempts thumbnail_path"
    " preview_path peaks is_unfiled linked_at sent_at created_at said storage downloaded_at"
    " verified_at",
    "work_records": "id kind conversation_id number title status amount notes"
    " created_at updated_at",
    "media_links": "id media_id record_id position created_at",
    "search_entries": "id message_id conversation_id at words",
    "unread": "user_id conversation_id since",
}
