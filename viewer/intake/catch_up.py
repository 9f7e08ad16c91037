"""What the webhooks did not bring: the provider's lists, compared with our rows.

Deliveries get lost, by an outage of ours, a wrong secret, a subscription that vanished. So from
time to time everything recent is listed over REST and what never arrived is ingested by the same
code; a file that has no living address gets a fresh one; a subscription that would not deliver is
reported. With an empty database this is the first import.

The provider is never asked inside a transaction. Each page is committed with a mark of how far the
list is read, so a run that dies goes on from there. All of it may run twice, also at once.
"""

import abc
import contextlib
import dataclasses
import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from viewer import quo
from viewer.config import settings
from viewer.extensions import Lock, db, lock, now
from viewer.failpoint import failpoint
from viewer.intake import file_matching, ingest
from viewer.models import Checkpoint, MediaAttachment, Message, PhoneLine, WebhookEvent
from viewer.quo import rest

log = logging.getLogger(__name__)

EVERY = 600.0  # seconds
# How far before the last run a list is read again: what was late, or still changing.
OVERLAP = {"message": timedelta(hours=1), "call": timedelta(hours=24)}
DELIVERIES_OVERLAP = timedelta(days=3)  # the provider gives up after 28 hours
CONTACTS_EVERY = timedelta(days=1)  # a contact's event tells of changes sooner
# At these ages something that is still missing is asked for: not every ten minutes for ever.
ASK_AT = tuple(
    timedelta(minutes=minutes) for minutes in (10, 60, 360, 1380, 3 * 1440, 7 * 1440, 30 * 1440)
)
HEARD_WITHIN = timedelta(days=3)  # then a webhook that the API hides is believed in
QUICK_ADDRESSES = 3  # tried at once for one file
MOST_ADDRESSES = 500  # to be freshened in one run

# Marks for the status page. A whole run is one in which the provider answered every step.
SUBSCRIPTION, LAST_RUN, WHOLE_RUN = "subscription", "last run", "last whole run"
LOG_SCHEME = "log"  # of an event that came from the provider's log of failed deliveries
WEBHOOK_PATH = "/webhooks/quo"
# Without one of these, photos or voicemails come late.
NEEDED = {"message.received", "message.delivered", "call.completed", "call.recording.completed"}
NEEDED_NEW = NEEDED | {"call.voicemail.completed"}  # the older generation tells it otherwise
# Since then the log says which event a delivery is about, except for test deliveries.
_TESTS_TOLD_SINCE = datetime(2026, 9, 2, tzinfo=UTC)

State = MediaAttachment.State


@dataclass
class Summary:
    """What a run found. `problems` are sentences for office staff."""

    stage: str = ""
    reached: datetime | None = None  # how far back the present list is read
    listed: int = 0
    arrived: int = 0  # messages and calls that no webhook had brought
    completed: int = 0  # those of which something was missing
    media: int = 0  # files that are now to be collected
    replayed: int = 0  # deliveries from the provider's log
    not_understood: int = 0
    unanswered: int = 0  # questions that are still open, of this run and of earlier ones
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.listed:,} read, {self.arrived:,} new"
        for count, what in (
            (self.completed, "completed"),
            (self.media, "files to collect"),
            (self.replayed, "deliveries replayed"),
            (self.not_understood, "not understood"),
            (self.unanswered, "not answered yet"),
        ):
            told += f", {count:,} {what}" if count else ""
        return "; ".join([told, *self.problems])


Progress = Callable[[Summary], None]


def is_configured() -> bool:
    return bool(settings().QUO_API_KEY.get_secret_value())


def new_client() -> rest.Client | None:
    """Ready to ask; None where no key is set. Raises rest.Refused for a key that cannot be one."""
    key = settings().QUO_API_KEY.get_secret_value()
    return rest.Client(key, settings().QUO_API_URL) if key else None


def catch_up(
    client: rest.Client, since: datetime | None = None, progress: Progress | None = None
) -> Summary:
    """Bring home what never arrived since the last run, or since the time named.

    The first run without `since` lists everything there is. Commits as it goes; the caller has
    nothing open. Trouble of the provider's does not raise: it is in the summary, and the next run
    goes on where this one stopped.
    """
    run = _Run(client, since, progress or (lambda _: None))
    steps = (
        run.learn_lines,
        run.check_subscription,
        lambda: run.list_all("message"),
        lambda: run.list_all("call"),
        run.replay_failed_deliveries,
        run.ask_again,
        run.freshen_addresses,
        run.learn_names,
    )
    for step in steps:
        try:
            step()
        except rest.RestError as trouble:
            db.session.rollback()
            # No photo depends on a name, and not every key may ask for contacts.
            run.is_whole = run.is_whole and step == run.learn_names
            run.say(trouble.reason)
            log.warning("catch-up stage=%s: %s", run.summary.stage, trouble.reason)
            is_key = isinstance(trouble, rest.Refused) and trouble.status == 401
            if is_key or isinstance(trouble, rest.Unreachable):
                break
    return run.finish()


def last_whole_run(otherwise: datetime | None) -> datetime | None:
    """When the provider last answered every step; `otherwise` where no run has noted that yet."""
    value = Checkpoint.read(WHOLE_RUN)
    return otherwise if value is None else _moment(value)


def fresh_address(media: MediaAttachment, client: rest.Client) -> str | None:
    """Where the provider has this file now; None if it does not say, or says the same as before.

    Commits before it asks: nobody waits for somebody else's server. Raises rest.RestError.
    """
    found = _found_again(media, client)
    return found[0].url if found else None


def freshen(media_id: uuid.UUID, client: rest.Client) -> bool:
    """Right after an address proved dead: whether the provider had another, now in the row.

    The failures stay counted. A provider that hands out one dead address after the other is asked
    a few times quickly, then at the pace of the row's own next attempts. Commits; raises RestError.
    """
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
    found = _found_again(media, client)
    if found is None:
        return False
    item, marks = found
    lock(Lock.INGEST)
    media = db.session.get_one(MediaAttachment, media_id, populate_existing=True)
    failures, since, later = media.failures, media.first_failed_at, media.next_attempt_at
    is_fresh = _freshen(media, item)
    if is_fresh:
        file_matching.remember(media, marks, _media_of([media.message_id]))
        media.failures, media.first_failed_at = failures, since
        if failures > QUICK_ADDRESSES:
            media.next_attempt_at = later
    db.session.commit()
    return is_fresh


def _found_again(
    media: MediaAttachment, client: rest.Client
) -> tuple[quo.MediaSeen, file_matching.Marks] | None:
    """This file as the provider tells of it now, under another address; commits before asking."""
    message = db.session.get_one(Message, media.message_id)
    rows = _media_of([message.id])
    db.session.commit()
    seen = _ask_again(client, message.provider_id, media.role)
    for row, item, marks in _matched(rows, seen.media if seen else ()):
        if row.id == media.id and item.url and item.url != media.openphone_url:
            return item, marks
    return None


def _ask_again(
    client: rest.Client, provider_id: str, role: MediaAttachment.Role
) -> quo.MessageSeen | quo.CallSeen | None:
    """What the provider says now about the files of a message; None if it knows nothing of them."""
    found: Any
    try:
        match role:
            case MediaAttachment.Role.ATTACHMENT:
                kind, call_id, found = "message", None, client.message(provider_id)
            case MediaAttachment.Role.RECORDING:
                kind, call_id, found = "recording", provider_id, client.recordings(provider_id)
            case MediaAttachment.Role.VOICEMAIL:
                kind, call_id, found = "voicemail", provider_id, client.voicemail(provider_id)
        seen = quo.understand_rest(kind, found, said_at=now(), call_id=call_id)
    except (rest.NotThere, quo.NotUnderstood):
        return None
    return seen if isinstance(seen, quo.MessageSeen | quo.CallSeen) else None


@dataclass
class _Kept(abc.ABC):
    """What is remembered from one run to the next, in a mark of its own."""

    TIMES: ClassVar[tuple[str, ...]]  # the names of its moments

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its mark's."""

    def save(self) -> None:
        told = dataclasses.asdict(self)
        Checkpoint.write(self.name, json.dumps(told, default=datetime.isoformat))

    @classmethod
    def read(cls, value: str | None) -> Self | None:
        if value is None:
            return None
        told = json.loads(value)
        return cls(**(told | {name: _moment(told[name]) for name in cls.TIMES}))


@dataclass
class _Listing(_Kept):
    """A list that is being read, from the newest backwards."""

    TIMES = ("start", "began", "reached")

    kind: str
    start: datetime | None  # the oldest that is wanted
    began: datetime
    reached: datetime | None = None
    thorough: bool = False  # also what is older and known is looked after

    @property
    def name(self) -> str:
        return f"{self.kind} listing"

    @classmethod
    def unfinished(cls, kind: str) -> "_Listing | None":
        return cls.read(Checkpoint.read(f"{kind} listing"))


@dataclass
class _Question(_Kept):
    """About one thing, and not answered: to be asked again, at the ages of the first attempt.

    The list it came from goes on, and so does its mark: this remembers what is missing of it.
    """

    TIMES = ("start", "since", "asked")

    what: str  # a file's role; "call parts", "call", "delivery"; "message listing", "call listing"
    id: str
    of: Any = None  # the delivery's webhook; the conversation, as v1 tells of it
    start: datetime | None = None  # of a conversation's listing: the oldest that is wanted
    since: datetime = field(default_factory=now)
    asked: datetime | None = None  # the latest attempt

    PREFIX = "unanswered "

    @property
    def name(self) -> str:
        # Nobody promises how long an id of theirs is.
        told = hashlib.sha256(f"{self.what} {self.id}".encode()).hexdigest()
        return self.PREFIX + told[:40]

    def save(self) -> None:
        earlier = self.read(Checkpoint.read(self.name))
        if earlier is not None:
            self.since, self.asked = earlier.since, self.asked or earlier.asked
            if earlier.start is None or (self.start and earlier.start < self.start):
                self.start = earlier.start
        super().save()

    @classmethod
    def all(cls) -> "list[_Question]":
        """Those first that have waited longest."""
        marks = db.session.scalars(
            sa.select(Checkpoint)
            .where(Checkpoint.name.startswith(cls.PREFIX))
            .order_by(Checkpoint.updated_at)
        )
        return [question for mark in marks if (question := cls.read(mark.value))]

    def is_due(self, moment: datetime) -> bool:
        return self.asked is None or _passes(self.since, self.asked, moment)


class _Run:
    def __init__(self, client: rest.Client, since: datetime | None, progress: Progress) -> None:
        self.client, self.since, self.progress = client, since, progress
        self.summary = Summary()
        self.began = now()
        self.is_whole = True
        # Up to when the present step has asked for what was missing: its own mark, which stands
        # still until the step has come to its end, so no age passes while the provider is away.
        self.asked_until: datetime | None = None
        self._hooks: list[rest.Webhook] = []
        self._due: set[uuid.UUID] = set()  # files to be collected, of the page at hand
        self._without_transcripts = False
        self._unanswered: list[_Question] = []  # of the page at hand
        self._in_a_row = 0  # questions of this step that were not answered
        self._is_down = False  # then no more of them are asked in this step

    # --- our own lines, and everybody's names ---

    def learn_lines(self) -> None:
        """First of all: whoever is not us in a message is the customer."""
        self._enter("lines")
        lines = self.client.phone_numbers()
        lock(Lock.INGEST)
        for line in lines:
            line_id, number = quo.identifier(line.get("id")), quo.canonical(line["phoneNumber"])
            ingest.learn_line(line_id, number)
            row = db.session.scalar(sa.select(PhoneLine).filter_by(number=number))
            if row is not None and isinstance(line.get("name"), str):
                row.name = line["name"][:255]
        db.session.commit()

    def learn_names(self) -> None:
        self._enter("contacts")
        done_at = _moment(Checkpoint.read("contacts"))
        db.session.commit()
        if self.since is None and done_at and self.began - done_at < CONTACTS_EVERY:
            return
        for page in self.client.contacts():
            seen = [self._understood("contact", item) for item in page]
            lock(Lock.INGEST)
            for contact in seen:
                if contact is not None:
                    ingest.take(contact, now())
            self._commit_page(len(page))
        Checkpoint.write("contacts", self.began.isoformat())
        db.session.commit()

    # --- messages and calls ---

    def list_all(self, kind: str) -> None:
        """First what an earlier run left unfinished, then what is new since."""
        self._enter(f"{kind}s")
        unfinished = _Listing.unfinished(kind)
        db.session.commit()
        if unfinished and _reaches(unfinished.start, self.since):
            self._read(unfinished)
        self._read(self._new_listing(kind))

    def _new_listing(self, kind: str) -> _Listing:
        mark = _moment(Checkpoint.read(kind))
        db.session.commit()
        start = self.since or (mark - OVERLAP[kind] if mark else None)
        thorough = self.since is not None or mark is None
        return _Listing(kind, start, began=self.began, thorough=thorough)

    def _read(self, listing: _Listing) -> None:
        self.asked_until = _moment(Checkpoint.read(listing.kind))
        db.session.commit()
        pages = self.client.messages if listing.kind == "message" else self.client.calls
        for page in pages(listing.start, listing.reached):
            self._read_page(listing, page)
        self._finish_listing(listing)

    def _read_page(self, listing: _Listing, page: rest.Page) -> None:
        for missed in page.missed:
            what = f"{listing.kind} listing" if missed.what == "conversation" else missed.what
            question = _Question(what, missed.id, of=missed.conversation, start=listing.start)
            self._note(question, missed.trouble)
        ids = [str(item["id"]) for item in page.items if item.get("id")]
        known = _known(ids)
        db.session.commit()
        parts = [part for item in page.items for part in self._parts(listing, item, known)]
        lock(Lock.INGEST)
        known = _known(ids)  # a webhook may have brought some meanwhile
        for seen in parts:
            self._take(seen, known.get(seen.provider_id))
        listing.reached = self.summary.reached = page.oldest or listing.reached
        if page.oldest:  # else there is no time to go on from
            listing.save()
        self._commit_page(len(page.items))

    def _finish_listing(self, listing: _Listing) -> None:
        Checkpoint.forget(listing.name)
        mark = _moment(Checkpoint.read(listing.kind))
        # A list that began after the last one ended leaves a gap: then the mark stays.
        if mark is None or (_reaches(listing.start, mark) and listing.began > mark):
            Checkpoint.write(listing.kind, listing.began.isoformat())
        db.session.commit()

    def _parts(
        self, listing: _Listing, item: rest.Json, known: "dict[str, _Known]"
    ) -> "list[_Told]":
        """All that is to be said of one object of the list. Here the provider may be asked."""
        seen = self._understood(listing.kind, item)
        if not isinstance(seen, quo.CallSeen):
            return [seen] if isinstance(seen, quo.MessageSeen) else []
        row = known.get(seen.provider_id)
        over = seen.completed_at or seen.sent_at
        due = over is not None and (
            over <= self.began - ASK_AT[0]
            and (row is None or listing.thorough or self._is_time(over))
        )
        if not seen.answered_at or not due:
            return [seen]
        told: list[_Told] = [seen]
        question = _Question("call parts", seen.provider_id)
        self._answered(question, lambda: told.extend(self._call_parts(seen.provider_id, row)))
        return told

    def _call_parts(self, call_id: str, row: "_Known | None") -> "Iterator[_Told]":
        """What an answered call left behind. Each as soon as it is told: the next may fail."""
        for ask in (self._recordings, self._transcript):
            part = ask(call_id, row)
            if isinstance(part, quo.CallSeen):
                yield part

    def _recordings(self, call_id: str, row: "_Known | None") -> quo.Seen | None:
        if row and any(media.role is MediaAttachment.Role.RECORDING for media in row.media):
            return None
        try:
            found = self.client.recordings(call_id)
        except rest.NotThere:
            return None
        return self._understood("recording", found, call_id) if found else None

    def _transcript(self, call_id: str, row: "_Known | None") -> quo.Seen | None:
        if self._without_transcripts or (row and row.message.transcript):
            return None
        try:
            found = self.client.transcript(call_id)
        except rest.Refused as refusal:
            if not refusal.is_about_one:
                raise
            self._without_transcripts = True  # not in this plan; no reason to stop
            return None
        return self._understood("transcript", found, call_id) if found else None

    def _take(self, seen: "_Told", row: "_Known | None") -> None:
        """Ingest what never arrived, and of what did, what is missing in it. Else nothing."""
        if row is None:
            query = sa.select(Message.id).filter_by(provider_id=seen.provider_id)
            is_new = db.session.scalar(query) is None  # a call's recordings come right after it
            self.summary.arrived += is_new
            self._due |= set(ingest.take(seen, now()))
            return
        pairs = _matched(row.media, seen.media)
        has_address = {media.id for media in row.media if media.openphone_url}
        for media, _, marks in pairs:
            # A file that now has another address must not become two.
            file_matching.remember(media, marks, row.media)
        freshened = {media.id for media, item, _ in pairs if _freshen(media, item)}
        news = (
            len(pairs) < len(seen.media)
            or any(item.url and media.id not in has_address for media, item, _ in pairs)
            or any(value and name not in row.message.said for name, value in _fields(seen).items())
            or _is_further(seen, row.message)
            or bool(seen.parties.numbers and not row.message.conversation.participants)
        )
        if news:
            self._due |= set(ingest.take(seen, now())) - has_address
        self._due |= freshened
        self.summary.completed += news or bool(freshened)

    def _understood(self, kind: str, found: Any, call_id: str | None = None) -> quo.Seen | None:
        try:
            return quo.understand_rest(kind, found, said_at=now(), call_id=call_id)
        except quo.NotUnderstood as reason:
            log.warning("catch-up: a %s was not understood: %s", kind, reason)
            self.summary.not_understood += 1
            return None

    # --- webhooks ---

    def check_subscription(self) -> None:
        """Would the provider tell us? It may have switched us off after an outage of ours."""
        self._enter("subscription")
        self._hooks = [hook for hook in self.client.webhooks() if _is_ours(hook)]
        heard_at = db.session.scalar(
            sa.select(sa.func.max(WebhookEvent.received_at)).where(
                WebhookEvent.scheme != LOG_SCHEME
            )
        )
        value, said = _judge(self._hooks, heard_at is not None and now() - heard_at < HEARD_WITHIN)
        Checkpoint.write(SUBSCRIPTION, value, said)
        db.session.commit()
        if value not in ("good", "unseen"):
            self.summary.problems.append(said)
            log.warning("catch-up: %s", said)

    def replay_failed_deliveries(self) -> None:
        """The provider keeps what it gave up delivering: as good as having received it."""
        self._enter("deliveries")
        mark = _moment(Checkpoint.read("deliveries"))
        db.session.commit()
        since = self.since or (mark - DELIVERIES_OVERLAP if mark else None)
        for hook in self._hooks:
            if not hook.is_new:
                continue
            for page in self.client.failed_deliveries(hook.id, since):
                for delivery in self._unknown(page):
                    question = _Question("delivery", delivery["id"], of=hook.id)
                    self._answered(question, partial(self._replay, hook.id, delivery))
        if self.since is None or mark is None or self.since <= mark:
            Checkpoint.write("deliveries", self.began.isoformat())
        db.session.commit()

    def _unknown(self, page: Sequence[rest.Json]) -> list[rest.Json]:
        ids = [str(delivery.get("id")) for delivery in page]
        known = set(
            db.session.scalars(
                sa.select(WebhookEvent.delivery_id).where(WebhookEvent.delivery_id.in_(ids))
            )
        )
        db.session.commit()
        return [
            delivery
            for delivery in page
            if isinstance(delivery.get("id"), str)
            and delivery["id"] not in known
            and not _is_test(delivery)
        ]

    def _replay(self, hook_id: str, delivery: rest.Json) -> None:
        try:
            found = self.client.delivery(hook_id, delivery["id"])
        except rest.NotThere:
            return
        body = _body_of(found.get("requestBody"), {**found, **delivery})
        if body is None:
            return
        event, is_new = WebhookEvent.record(delivery["id"], LOG_SCHEME, body)
        db.session.commit()  # kept, whatever becomes of reading it
        if is_new:
            self.summary.media += len(ingest.ingest(event.id))
            self.summary.replayed += 1
            db.session.commit()
            log.info("event=%s replayed from the provider's log", event.id)

    # --- files without a living address ---

    def freshen_addresses(self) -> None:
        """Whatever waits for a file of which we have no address, or none that works."""
        self._enter("addresses")
        self.asked_until = _moment(Checkpoint.read("addresses"))
        rows = db.session.execute(
            sa.select(Message.provider_id, MediaAttachment.role, MediaAttachment.created_at)
            .join(Message, MediaAttachment.message_id == Message.id)
            .where(_in_trouble())
            .order_by(MediaAttachment.created_at.desc())
            .limit(MOST_ADDRESSES)
        ).all()
        db.session.commit()
        due = {(id, role) for id, role, at in rows if self.since or self._is_time(at)}
        for provider_id, role in sorted(due):
            question = _Question(role.value, provider_id)
            self._answered(question, partial(self._ask_for_file, provider_id, role))
        self._keep_unanswered()
        Checkpoint.write("addresses", self.began.isoformat())
        db.session.commit()

    def _ask_for_file(self, provider_id: str, role: MediaAttachment.Role) -> None:
        self._take_alone(_ask_again(self.client, provider_id, role))

    def _take_alone(self, *told: quo.Seen | None) -> None:
        """What was asked for by itself."""
        for seen in told:
            if isinstance(seen, quo.MessageSeen | quo.CallSeen):
                lock(Lock.INGEST)
                self._take(seen, _known([seen.provider_id]).get(seen.provider_id))
                self._commit_page(0)

    # --- what was not answered ---

    def ask_again(self) -> None:
        """What an earlier run was not told about one thing, while the rest went on."""
        self._enter("questions")
        questions = _Question.all()
        db.session.commit()
        for question in questions:
            if self._is_down or not question.is_due(self.began):
                continue
            if self._answered(question, partial(self._ask_once_more, question)):
                Checkpoint.forget(question.name)
            elif question.since + ASK_AT[-1] <= self.began:
                self._unanswered.remove(question)
                Checkpoint.forget(question.name)
                self.say("What the provider would not tell for 30 days is no longer asked for.")
            self._keep_unanswered()
            db.session.commit()

    def _ask_once_more(self, question: _Question) -> None:
        match question.what:
            case "message listing" | "call listing":
                self._read_conversation(question)
            case "delivery":
                self._replay(str(question.of), {"id": question.id})
            case "call":
                with contextlib.suppress(rest.NotThere):
                    found = self.client.call(question.id)
                    self._take_alone(self._understood("call", found))
            case "call parts":
                row = _known([question.id]).get(question.id)
                db.session.commit()
                for part in self._call_parts(question.id, row):
                    self._take_alone(part)
            case role:
                self._ask_for_file(question.id, MediaAttachment.Role(role))

    def _read_conversation(self, question: _Question) -> None:
        kind = question.what.removesuffix(" listing")
        listing = _Listing(kind, question.start, began=self.began, thorough=True)
        pages = self.client.messages_of if kind == "message" else self.client.calls_of
        for page in pages(question.of, question.start):
            self._read_page(listing, page)

    def _answered(self, question: _Question, ask: Callable[[], object]) -> bool:
        """Whether the provider answered. If not this time, the question is kept for another."""
        if self._is_down:
            self._unanswered.append(question)
            return False
        try:
            ask()
        except rest.RestError as trouble:
            db.session.rollback()
            if not trouble.is_about_one:
                raise
            self._note(question, trouble)
            return False
        self._in_a_row = 0
        return True

    def _note(self, question: _Question, trouble: rest.RestError) -> None:
        self.say(trouble.reason)
        log.warning("catch-up %s %s: %s", question.what, question.id, trouble.reason)
        question.asked = self.began
        self._unanswered.append(question)
        # A refusal comes at once and is about the one thing; the rest is asked with many repeats.
        self._in_a_row = self._in_a_row + 1 if isinstance(trouble, rest.Unreachable) else 0
        if self._in_a_row >= rest.SEVERAL:
            self._is_down, self.is_whole = True, False

    def _keep_unanswered(self) -> None:
        if self._unanswered:
            lock(Lock.INGEST)
        for question in self._unanswered:
            question.save()
        self._unanswered.clear()

    # --- shared ---

    def say(self, problem: str) -> None:
        if problem not in self.summary.problems:
            self.summary.problems.append(problem)

    def _is_time(self, began: datetime) -> bool:
        """Whether one of the ages at which we ask was passed since we last asked."""
        last = self.asked_until or datetime.min.replace(tzinfo=UTC)
        return _passes(began, last, self.began)

    def _enter(self, stage: str) -> None:
        self.summary.stage, self.summary.reached = stage, None
        self._in_a_row, self._is_down = 0, False
        self.progress(self.summary)

    def _commit_page(self, count: int) -> None:
        failpoint("catch_up.read")
        self._keep_unanswered()
        db.session.commit()
        db.session.expunge_all()  # a long list must not pile up in memory
        self.summary.media += len(self._due)
        self._due.clear()
        self.summary.listed += count
        self.progress(self.summary)
        failpoint("catch_up.page")

    def finish(self) -> Summary:
        if self.summary.not_understood:
            self.summary.problems.append(
                f"{self.summary.not_understood} things in the provider's lists were not understood."
            )
        self._keep_unanswered()
        db.session.flush()
        self.summary.unanswered = len(_Question.all())
        self.summary.stage = "done"
        if self.is_whole:
            Checkpoint.write(WHOLE_RUN, now().isoformat())
        elif Checkpoint.read(WHOLE_RUN) is None:
            # Never, or before there was this mark: then the last run of all counts, whole or not.
            Checkpoint.write(WHOLE_RUN, Checkpoint.read(LAST_RUN) or "never")
        Checkpoint.write(LAST_RUN, self.began.isoformat(), str(self.summary))
        db.session.commit()
        log.info("catch-up %s", self.summary)
        return self.summary


@dataclass(frozen=True, slots=True)
class _Known:
    """A message that we have."""

    message: Message
    media: list[MediaAttachment]


_Told = quo.MessageSeen | quo.CallSeen


def _known(provider_ids: list[str]) -> dict[str, _Known]:
    messages = db.session.scalars(
        sa.select(Message)
        .where(Message.provider_id.in_(provider_ids))
        .options(selectinload(Message.conversation))
        .execution_options(populate_existing=True)
    ).all()
    media = _media_of([message.id for message in messages])
    return {
        message.provider_id: _Known(message, [row for row in media if row.message_id == message.id])
        for message in messages
    }


def _fields(seen: _Told) -> dict[str, object]:
    """What is said, under the names of our columns."""
    if isinstance(seen, quo.MessageSeen):
        names: tuple[str, ...] = ("direction", "body", "error_code", "sent_at")
    else:
        names = ("direction", "sent_at", "answered_at", "completed_at", "duration_seconds",
                 "has_voicemail", "voicemail_transcript", "transcript", "summary", "next_steps",
                 "status")  # fmt: skip
    said = {name: getattr(seen, name) for name in names}
    return said | {"sender": seen.parties.sender, "colleague": seen.user}


def _media_of(message_ids: Iterable[uuid.UUID]) -> list[MediaAttachment]:
    return list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.message_id.in_(list(message_ids)))
            .order_by(MediaAttachment.position, MediaAttachment.created_at, MediaAttachment.id)
            .execution_options(populate_existing=True)
        )
    )


# --- one file in two tellings --------------------------------------------------------------


def _matched(
    rows: Sequence[MediaAttachment], items: Sequence[quo.MediaSeen]
) -> list[tuple[MediaAttachment, quo.MediaSeen, file_matching.Marks]]:
    """Which row is which file: by address, by the provider's id, else by place.

    A fresh address may differ in everything. By place only where there are as many of either:
    rather a photo twice than a photo never.
    """
    found: list[tuple[MediaAttachment, quo.MediaSeen, file_matching.Marks]] = []
    everything = list(zip(items, file_matching.marks(items), strict=True))
    for role in quo.Role:
        left = [row for row in rows if row.role.value == role.value]
        told = [one for one in everything if one[0].role is role]
        as_many = len(left) == len(told)
        for is_same in (_is_exactly, _is_alike):
            for one in list(told):
                row = next((row for row in left if is_same(row, *one)), None)
                if row is not None:
                    found.append((row, *one))
                    left.remove(row)
                    told.remove(one)
        if as_many:
            found += ((row, *one) for row, one in zip(left, told, strict=True))
    return found


def _is_exactly(row: MediaAttachment, item: quo.MediaSeen, marks: file_matching.Marks) -> bool:
    return file_matching.is_exactly(row, marks)


def _is_alike(row: MediaAttachment, item: quo.MediaSeen, marks: file_matching.Marks) -> bool:
    return bool(file_matching.alike([row], item, marks))


def _in_trouble() -> sa.ColumnElement[bool]:
    media = MediaAttachment
    return (media.state == State.NEEDS_ATTENTION) | (
        (media.state == State.PENDING) & (media.openphone_url.is_(None) | (media.failures > 0))
    )


def _freshen(media: MediaAttachment, item: quo.MediaSeen) -> bool:
    """Try again under this address, if it is another one and the old one got us nowhere."""
    is_stuck = media.state is State.NEEDS_ATTENTION or (
        media.state is State.PENDING and media.failures > 0
    )
    if not is_stuck or not item.url or item.url == media.openphone_url:
        return False
    if media.openphone_url is None:  # ingest gives it its name, too
        return False
    # With its moment: a repeat of the old delivery must not bring the dead address back.
    media.merge(now(), openphone_url=item.url)
    media.state, media.problem = State.PENDING, None
    media.failures, media.first_failed_at, media.next_attempt_at = 0, None, now()
    log.info("media=%s has a fresh address", media.id)
    return True


def _is_further(seen: _Told, message: Message) -> bool:
    """Whether a text has come further than we knew."""
    if isinstance(seen, quo.CallSeen) or seen.status not in ingest.STATUS_ORDER:
        return False
    ranks = {status: rank for rank, status in enumerate(ingest.STATUS_ORDER)}
    return ranks[seen.status] > ranks.get(message.status or "", -1)


# --- webhooks ------------------------------------------------------------------------------


def _is_ours(hook: rest.Webhook) -> bool:
    try:
        parts = urlsplit(hook.url)
    except ValueError:
        return False
    hosts = settings().TRUSTED_HOSTS
    host = parts.hostname or ""
    is_here = not hosts or any(
        host.endswith(name) if name.startswith(".") else host == name for name in hosts
    )
    return is_here and parts.path.rstrip("/") == WEBHOOK_PATH


def _judge(hooks: list[rest.Webhook], is_heard: bool) -> tuple[str, str]:
    """The state of our subscription, and a sentence about it."""
    if not hooks:
        if is_heard:
            return "unseen", "The provider delivers, through a webhook that its API does not show."
        return "missing", "The provider has no webhook for us: nothing will arrive by itself."
    enabled = [hook for hook in hooks if hook.enabled]
    if not enabled:
        return "disabled", "Our webhook at the provider is switched off: nothing will arrive."
    events = {event for hook in enabled for event in hook.events}
    needed = NEEDED_NEW if any(hook.is_new for hook in enabled) else NEEDED
    missing = sorted(needed - events)
    if missing and "*" not in events:
        return "incomplete", f"Our webhook at the provider leaves out: {', '.join(missing)}."
    return "good", "Our webhook at the provider is switched on."


def _is_test(delivery: rest.Json) -> bool:
    """Somebody pressed "send a test": its sample must not become a message."""
    created_at = _moment(delivery.get("createdAt"))
    return (
        delivery.get("eventId") is None
        and created_at is not None
        and created_at >= _TESTS_TOLD_SINCE
    )


def _body_of(payload: object, delivery: rest.Json) -> bytes | None:
    if isinstance(payload, str):
        return payload.encode()
    if not isinstance(payload, dict):
        return None
    # Some samples show the payload without its envelope; the log knows what was on it.
    envelope = {
        "id": delivery.get("eventId"),
        "type": delivery.get("eventType"),
        "createdAt": delivery.get("createdAt"),
    }
    return json.dumps(envelope | payload, separators=(",", ":"), ensure_ascii=False).encode()


# --- times ---------------------------------------------------------------------------------


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _passes(began: datetime, last: datetime, moment: datetime) -> bool:
    """Whether one of the ages at which we ask comes after `last` and not after `moment`."""
    return any(last < began + age <= moment for age in ASK_AT)


def _reaches(start: datetime | None, wanted: datetime | None) -> bool:
    """Whether a list from `start` on holds all since `wanted` (None: since the last run)."""
    return start is None or wanted is None or start <= wanted
