"""Catch up over REST with what no webhook delivered: compare the provider's lists with our rows.

Deliveries get lost: an outage of ours, a wrong secret, a subscription that vanished. So
everything recent is listed over REST at intervals, and what never arrived is ingested by the same
code. Files without a working URL get a fresh one, and a subscription that would not deliver is
reported. With an empty database this is the first import.

No transaction is open while the provider is asked. Each message is committed by itself, and after
each page a checkpoint, so a run that dies resumes there. Idempotent, and safe to run concurrently.
"""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self

import sqlalchemy as sa

from viewer import quo, transactions
from viewer.extensions import Lock, db, lock, now
from viewer.failpoint import failpoint
from viewer.intake import (
    addresses,
    comparison,
    grouping,
    ingest,
    questions,
    subscription,
)
from viewer.intake.message_files import Known
from viewer.models import Checkpoint, MediaAttachment, Message, PhoneLine
from viewer.models.checkpoints import parse_moment
from viewer.quo import rest

log = logging.getLogger(__name__)

EVERY = 600.0  # seconds
# How far before the last run a list is read again: what was late, or still changing.
OVERLAP = {"message": timedelta(hours=1), "call": timedelta(hours=24)}
DELIVERIES_OVERLAP = timedelta(days=3)  # the provider gives up after 28 hours
CONTACTS_EVERY = timedelta(days=1)  # a contact's event tells of changes sooner
MOST_ADDRESSES = 500  # to be freshened in one run

# Marks for the status page. A whole run is one in which the provider answered every step.
LAST_RUN, WHOLE_RUN = "last run", "last whole run"

State = MediaAttachment.State


@dataclass
class Summary:
    """The result of one run. `problems` are sentences for office staff."""

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


def catch_up(
    client: rest.Client, since: datetime | None = None, progress: Progress | None = None
) -> Summary:
    """Ingest what never arrived since the last run, or since `since`.

    The first run without `since` lists everything. Commits as it goes: call it without an open
    transaction. Errors of the provider do not raise: they are in the summary, and the next run
    resumes where this one stopped.
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
            run.asker.is_whole = run.asker.is_whole and step == run.learn_names
            run.say(trouble.reason)
            log.warning("catch-up stage=%s: %s", run.summary.stage, trouble.reason)
            is_key = isinstance(trouble, rest.Refused) and trouble.status == 401
            if is_key or isinstance(trouble, rest.Unreachable):
                break
    return run.finish()


def last_whole_run(otherwise: datetime | None) -> datetime | None:
    """When the provider last answered every step; `otherwise` before the first such run."""
    value = Checkpoint.read(WHOLE_RUN)
    return otherwise if value is None else parse_moment(value)


@dataclass
class Listing(questions.Saved):
    """A list being read, newest first, with how far it is read."""

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
    def unfinished(cls, kind: str) -> Self | None:
        return cls.read(Checkpoint.read(f"{kind} listing"))


class _Run:
    def __init__(self, client: rest.Client, since: datetime | None, progress: Progress) -> None:
        self.client, self.since, self.progress = client, since, progress
        self.summary = Summary()
        self.began = now()
        self.asker = questions.Asker(self.began, self.say)
        # Up to when the present step has asked for what was missing: its own mark, which stands
        # still until the step has come to its end, so no age passes while the provider is away.
        self.asked_until: datetime | None = None
        self._hooks: list[rest.Webhook] = []
        self._due: set[uuid.UUID] = set()  # files to be collected, of the page at hand
        self._without_transcripts = False

    # --- our own lines, and everybody's names ---

    def learn_lines(self) -> None:
        """Learn our own numbers first: whoever else takes part in a message is the customer."""
        self._enter("lines")
        for line in self.client.phone_numbers():
            lock(Lock.INGEST)
            line_id, number = quo.identifier(line.get("id")), quo.canonical(line["phoneNumber"])
            grouping.learn_line(line_id, number)
            row = db.session.scalar(sa.select(PhoneLine).filter_by(number=number))
            if row is not None and isinstance(line.get("name"), str):
                row.name = line["name"][:255]
            db.session.commit()

    def learn_names(self) -> None:
        self._enter("contacts")
        done_at = Checkpoint.read_moment("contacts")
        db.session.commit()
        if self.since is None and done_at and self.began - done_at < CONTACTS_EVERY:
            return
        for page in self.client.contacts():
            seen = [self._understood("contact", item) for item in page]
            for contact in seen:
                if contact is not None:
                    ingest.upsert(contact, now())  # each by itself: others write in between
            self._commit_page(len(page))
        Checkpoint.write("contacts", self.began.isoformat())
        db.session.commit()

    # --- messages and calls ---

    def list_all(self, kind: str) -> None:
        """Finish the list of an interrupted run, then read what is new since."""
        self._enter(f"{kind}s")
        unfinished = Listing.unfinished(kind)
        db.session.commit()
        if unfinished and reaches(unfinished.start, self.since):
            self._read(unfinished)
        self._read(self._new_listing(kind))

    def _new_listing(self, kind: str) -> Listing:
        mark = Checkpoint.read_moment(kind)
        db.session.commit()
        start = self.since or (mark - OVERLAP[kind] if mark else None)
        thorough = self.since is not None or mark is None
        return Listing(kind, start, began=self.began, thorough=thorough)

    def _read(self, listing: Listing) -> None:
        self.asked_until = Checkpoint.read_moment(listing.kind)
        db.session.commit()
        pages = self.client.messages if listing.kind == "message" else self.client.calls
        for page in pages(listing.start, listing.reached):
            self._read_page(listing, page)
        self._finish_listing(listing)

    def _read_page(self, listing: Listing, page: rest.Page) -> None:
        for missed in page.missed:
            what = f"{listing.kind} listing" if missed.what == "conversation" else missed.what
            question = questions.Question(
                what, missed.id, of=missed.conversation, start=listing.start
            )
            self.asker.note(question, missed.trouble)
        ids = [str(item["id"]) for item in page.items if item.get("id")]
        with transactions.snapshot():
            known = comparison.known(ids)
        # The oldest first: of those that were sent at one moment it came first.
        items = reversed(page.items)
        parts = [part for item in items for part in self._parts(listing, item, known)]
        with transactions.snapshot():
            known = comparison.known(ids)  # a webhook may have brought some meanwhile
        for seen in parts:
            row = known.get(seen.provider_id)
            if row is None or not comparison.is_complete(seen, row):
                self._complete(seen)
        listing.reached = self.summary.reached = page.oldest or listing.reached
        if page.oldest:  # else there is no time to go on from
            listing.save()
        self._commit_page(len(page.items))

    def _finish_listing(self, listing: Listing) -> None:
        Checkpoint.forget(listing.name)
        mark = Checkpoint.read_moment(listing.kind)
        # A list that began after the last one ended leaves a gap: then the mark stays.
        if mark is None or (reaches(listing.start, mark) and listing.began > mark):
            Checkpoint.write(listing.kind, listing.began.isoformat())
        db.session.commit()

    def _parts(
        self, listing: Listing, item: rest.Json, known: dict[str, Known]
    ) -> list[comparison.Told]:
        """Collect everything about one listed object. May send requests to the provider."""
        seen = self._understood(listing.kind, item)
        if not isinstance(seen, quo.CallSeen):
            return [seen] if isinstance(seen, quo.MessageSeen) else []
        row = known.get(seen.provider_id)
        over = seen.completed_at or seen.sent_at
        due = over is not None and (
            over <= self.began - questions.ASK_AT[0]
            and (row is None or listing.thorough or self._is_time(over))
        )
        if not seen.answered_at or not due:
            return [seen]
        told: list[comparison.Told] = [seen]
        question = questions.Question("call parts", seen.provider_id)
        self.asker.answered(question, lambda: told.extend(self._call_parts(seen.provider_id, row)))
        return told

    def _call_parts(self, call_id: str, row: Known | None) -> Iterator[comparison.Told]:
        """Yield recordings and transcript of an answered call one by one: the next may fail."""
        for ask in (self._recordings, self._transcript):
            part = ask(call_id, row)
            if isinstance(part, quo.CallSeen):
                yield part

    def _recordings(self, call_id: str, row: Known | None) -> quo.Seen | None:
        if row and any(media.role is MediaAttachment.Role.RECORDING for media in row.media):
            return None
        try:
            found = self.client.recordings(call_id)
        except rest.NotThere:
            return None
        return self._understood("recording", found, call_id) if found else None

    def _transcript(self, call_id: str, row: Known | None) -> quo.Seen | None:
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

    def _complete(self, seen: comparison.Told) -> None:
        """Ingest one report by itself: nobody waits for a whole page to be written."""
        outcome = comparison.complete(seen)
        self.summary.arrived += outcome.is_new
        self.summary.completed += outcome.is_completed
        self._due |= outcome.media

    def _understood(self, kind: str, found: Any, call_id: str | None = None) -> quo.Seen | None:
        try:
            return quo.understand_rest(kind, found, said_at=now(), call_id=call_id)
        except quo.NotUnderstood as reason:
            log.warning("catch-up: a %s was not understood: %s", kind, reason)
            self.summary.not_understood += 1
            return None

    # --- webhooks ---

    def check_subscription(self) -> None:
        self._enter("subscription")
        found = subscription.check(self.client)
        self._hooks = found.hooks
        if not found.is_good:
            self.summary.problems.append(found.words)
            log.warning("catch-up: %s", found.words)

    def replay_failed_deliveries(self) -> None:
        """Ingest deliveries that the provider gave up on: its log keeps their payloads."""
        self._enter("deliveries")
        mark = Checkpoint.read_moment("deliveries")
        db.session.commit()
        since = self.since or (mark - DELIVERIES_OVERLAP if mark else None)
        for hook in self._hooks:
            if not hook.is_new:
                continue
            for page in self.client.failed_deliveries(hook.id, since):
                for delivery in subscription.unknown_deliveries(page):
                    question = questions.Question("delivery", delivery["id"], of=hook.id)
                    self.asker.answered(question, partial(self._replay, hook.id, delivery))
        if self.since is None or mark is None or self.since <= mark:
            Checkpoint.write("deliveries", self.began.isoformat())
        db.session.commit()

    def _replay(self, hook_id: str, delivery: rest.Json) -> None:
        media = subscription.replay(self.client, hook_id, delivery)
        if media is not None:
            self.summary.media += len(media)
            self.summary.replayed += 1

    # --- files without a living address ---

    def freshen_addresses(self) -> None:
        """Ask for a fresh URL of every file that has none that works."""
        self._enter("addresses")
        self.asked_until = Checkpoint.read_moment("addresses")
        db.session.commit()
        with transactions.snapshot():
            rows = db.session.execute(
                sa.select(Message.provider_id, MediaAttachment.role, MediaAttachment.created_at)
                .join(Message, MediaAttachment.message_id == Message.id)
                .where(addresses.needs_an_address())
                .order_by(MediaAttachment.created_at.desc())
                .limit(MOST_ADDRESSES)
            ).all()
        due = {(id, role) for id, role, at in rows if self.since or self._is_time(at)}
        for provider_id, role in sorted(due):
            question = questions.Question(role.value, provider_id)
            self.asker.answered(question, partial(self._ask_for_file, provider_id, role))
        self.asker.save_unanswered()
        Checkpoint.write("addresses", self.began.isoformat())
        db.session.commit()

    def _ask_for_file(self, provider_id: str, role: MediaAttachment.Role) -> None:
        self._upsert_alone(addresses.ask_for_files(self.client, provider_id, role))

    def _upsert_alone(self, *told: quo.Seen | None) -> None:
        """Ingest what was requested by itself, outside of a list."""
        for seen in told:
            if isinstance(seen, quo.MessageSeen | quo.CallSeen):
                self._complete(seen)
                self._commit_page(0)

    # --- what was not answered ---

    def ask_again(self) -> None:
        """Repeat the requests about single objects that earlier runs got no answer to."""
        self._enter("questions")
        waiting = questions.Question.all()
        db.session.commit()
        for question in waiting:
            if self.asker.is_down or not question.is_due(self.began):
                continue
            if self.asker.answered(question, partial(self._ask_once_more, question)):
                Checkpoint.forget(question.name)
            elif question.since + questions.ASK_AT[-1] <= self.began:
                self.asker.unanswered.remove(question)
                Checkpoint.forget(question.name)
                self.say("What the provider would not tell for 30 days is no longer asked for.")
            self.asker.save_unanswered()
            db.session.commit()

    def _ask_once_more(self, question: questions.Question) -> None:
        match question.what:
            case "message listing" | "call listing":
                self._read_conversation(question)
            case "delivery":
                self._replay(str(question.of), {"id": question.id})
            case "call":
                with contextlib.suppress(rest.NotThere):
                    found = self.client.call(question.id)
                    self._upsert_alone(self._understood("call", found))
            case "call parts":
                row = comparison.known([question.id]).get(question.id)
                db.session.commit()
                for part in self._call_parts(question.id, row):
                    self._upsert_alone(part)
            case role:
                self._ask_for_file(question.id, MediaAttachment.Role(role))

    def _read_conversation(self, question: questions.Question) -> None:
        kind = question.what.removesuffix(" listing")
        listing = Listing(kind, question.start, began=self.began, thorough=True)
        pages = self.client.messages_of if kind == "message" else self.client.calls_of
        for page in pages(question.of, question.start):
            self._read_page(listing, page)

    # --- shared ---

    def say(self, problem: str) -> None:
        if problem not in self.summary.problems:
            self.summary.problems.append(problem)

    def _is_time(self, began: datetime) -> bool:
        """Whether a retry is due: one of the ages in ASK_AT passed since the last request."""
        last = self.asked_until or datetime.min.replace(tzinfo=UTC)
        return questions.passes(began, last, self.began)

    def _enter(self, stage: str) -> None:
        self.summary.stage, self.summary.reached = stage, None
        self.asker.begin_step()
        self.progress(self.summary)

    def _commit_page(self, count: int) -> None:
        failpoint("catch_up.read")
        self.asker.save_unanswered()
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
        self.asker.save_unanswered()
        db.session.flush()
        self.summary.unanswered = len(questions.Question.all())
        self.summary.stage = "done"
        if self.asker.is_whole:
            Checkpoint.write(WHOLE_RUN, now().isoformat())
        elif Checkpoint.read(WHOLE_RUN) is None:
            # Never, or before there was this mark: then the last run of all counts, whole or not.
            Checkpoint.write(WHOLE_RUN, Checkpoint.read(LAST_RUN) or "never")
        Checkpoint.write(LAST_RUN, self.began.isoformat(), str(self.summary))
        db.session.commit()
        log.info("catch-up %s", self.summary)
        return self.summary


def reaches(start: datetime | None, wanted: datetime | None) -> bool:
    """Whether a list from `start` covers everything since `wanted` (None: since the last run)."""
    return start is None or wanted is None or start <= wanted
