"""A client of the provider's REST API, with a rate limit, retries and backoff.

    with rest.Client(key) as client:
        for page in client.messages(since=yesterday): ...

It asks the newer API (2026-03-30) first, and v1 where the newer one has no answer. Objects come
back as the provider writes them; `quo.understand_rest` parses them.

Raises connection.RestError.
"""

import contextlib
import itertools
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from urllib.parse import quote

from viewer.quo.connection import (
    Connection,
    Params,
    read_answer,
)
from viewer.quo.connection import NotThere as NotThere
from viewer.quo.connection import Refused as Refused
from viewer.quo.connection import RestError as RestError
from viewer.quo.connection import Unreachable as Unreachable
from viewer.quo.wire import read_moment

Json = Mapping[str, Any]
T = TypeVar("T")

PER_SECOND = 5.0  # of the 10 a key may ask; the rest is for the workers and other programs
SECONDS = 30.0  # for one question and its whole answer
PAUSES = (0.5, 2.0, 6.0)  # before asking again
LONGEST_PAUSE = 30.0  # seconds; whoever wants us to wait longer is asked the next time
PAGE, V1_PAGE, V1_CONTACTS = 50, 100, 50  # the most that each surface gives at once

SEVERAL = 3  # questions in a row without an answer: the provider is down, not one thing broken

_PLAN = (402, 403)
_NEEDED_TO_ASK = ("id", "phoneNumberId", "participants")  # of a conversation of v1


class _CursorGone(Exception):
    """A list's cursor has expired: they live for a short while."""


@dataclass(frozen=True, slots=True)
class Missed:
    """An object of a list that the provider refused to give; the rest of the list is here."""

    what: str  # "call", or "conversation" for all that the list wanted of one
    id: str
    trouble: RestError
    conversation: Json | None = None  # by which `messages_of` or `calls_of` asks for it again


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list, newest first."""

    items: tuple[Json, ...]
    # All that is newer has been given by now. None: this list is in no order of time.
    oldest: datetime | None
    missed: tuple[Missed, ...] = ()


@dataclass(frozen=True, slots=True)
class Webhook:
    """A subscription of either generation. Its secret is not kept."""

    id: str
    is_new: bool  # signed by Standard Webhooks, with a log of deliveries
    url: str
    enabled: bool
    events: tuple[str, ...]


class Client:
    """One request at a time: not thread-safe. Raises RestError."""

    def __init__(
        self,
        key: str,
        base: str = "https://api.quo.com",
        *,
        per_second: float = PER_SECOND,
        seconds: float = SECONDS,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._line = Connection(_checked_key(key), base, seconds)
        self._gap, self._pauses = 1 / per_second, pauses
        self._turn = 0.0  # when we may ask again, on the monotonic clock
        self._older: set[str] = set()  # what only v1 was found to answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._line.hang_up()

    # --- messages and calls ---

    def messages(self, since: datetime | None, before: datetime | None = None) -> Iterator[Page]:
        """Every text of the workspace after `since`. `before` resumes an interrupted listing."""
        params = [("createdAt[gt]", _stamp(since))] if since else []
        # `lt` would leave out others of the same millisecond.
        inclusive = timedelta(milliseconds=1)
        yield from self._from_either(
            "messages",
            self._newest_first("/messages", params, "createdAt[lt]", before, inclusive),
            self._of_each_conversation(self.messages_of, since),
        )

    def messages_of(self, conversation: Json, since: datetime | None) -> Iterator[Page]:
        """Those of one conversation, an object of v1. Raises RestError."""
        asked = _about(conversation, since)
        for items in self._v1_pages("/v1/messages", asked):
            yield Page(tuple(_in_conversation(item, conversation) for item in items), None)

    def message(self, message_id: str) -> Json:
        return self._one(
            "message", f"/messages/{_id(message_id)}", f"/v1/messages/{_id(message_id)}"
        )

    def calls(self, since: datetime | None, before: datetime | None = None) -> Iterator[Page]:
        """Every call of the workspace from `since` on, each with its summary and voicemail."""
        params = [("include", "summary,voicemail")]
        params += [("createdAt[gte]", _stamp(since))] if since else []
        yield from self._from_either(
            "calls",
            self._newest_first("/calls", params, "createdAt[lte]", before, timedelta(0)),
            self._of_each_conversation(self.calls_of, since),
        )

    def calls_of(self, conversation: Json, since: datetime | None) -> Iterator[Page]:
        """Those of one conversation, an object of v1. Raises RestError."""
        if len(_others(conversation)) != 1:  # v1 lists calls with one other party only
            return
        in_a_row = 0
        for items in self._v1_pages("/v1/calls", _about(conversation, since)):
            told, missed = [], []
            for item in items:
                call = _in_conversation(item, conversation)
                try:
                    call, in_a_row = self._with_aftermath(call), 0
                except RestError as trouble:
                    in_a_row = _counted(trouble, in_a_row)
                    missed.append(Missed("call", str(call.get("id")), trouble))
                told.append(call)
            yield Page(tuple(told), None, tuple(missed))

    def call(self, call_id: str) -> Json:
        """A call with its summary and voicemail."""
        try:
            return self._object(f"/calls/{_id(call_id)}", [("include", "summary,voicemail")])
        except NotThere:
            return self._with_aftermath(self._object(f"/v1/calls/{_id(call_id)}", newer=False))

    def recordings(self, call_id: str) -> list[Json]:
        """The recordings of a call, oldest first."""
        return self._several(
            "recordings", f"/calls/{_id(call_id)}/recordings", f"/v1/call-recordings/{_id(call_id)}"
        )

    def voicemail(self, call_id: str) -> Json | None:
        try:
            found = self._object(f"/calls/{_id(call_id)}", [("include", "voicemail")])
        except NotThere:
            return self._v1_part("voicemails", call_id)
        voicemail = found.get("voicemail")
        return voicemail if isinstance(voicemail, dict) else None

    def transcript(self, call_id: str) -> Json | None:
        """The transcript of a call, in seconds from the start of its first recording."""
        try:
            parts = self._several(
                "transcripts",
                f"/calls/{_id(call_id)}/transcripts",
                f"/v1/call-transcripts/{_id(call_id)}",
            )
        except NotThere:
            return None
        return _joined(parts)

    # --- who is who ---

    def conversations(self, since: datetime | None) -> Iterator[tuple[Json, ...]]:
        """Conversations updated after `since`."""
        newer = [("updatedAt[gte]", _stamp(since))] if since else []
        older = [("updatedAfter", _stamp(since))] if since else []
        yield from self._from_either(
            "conversations",
            self._pages("/conversations", newer),
            self._v1_pages("/v1/conversations", older),
        )

    def phone_numbers(self) -> list[Json]:
        """Our own lines; each has its number under `phoneNumber`."""
        found = self._several("phone-numbers", "/phone-numbers", "/v1/phone-numbers")
        return [
            {**line, "phoneNumber": line.get("phoneNumber") or line.get("number")} for line in found
        ]

    def contacts(self) -> Iterator[tuple[Json, ...]]:
        """The address book. Only v1 gives names and numbers together."""
        return self._v1_pages("/v1/contacts", [], V1_CONTACTS)

    # --- webhooks ---

    def webhooks(self) -> list[Webhook]:
        """Every subscription that the API shows. Those made in the old app are missing."""
        found: dict[str, Webhook] = {}
        with contextlib.suppress(NotThere):
            for items in self._pages("/webhooks", []):
                found |= {hook.id: hook for hook in _webhooks(items, is_new=True)}
        with contextlib.suppress(NotThere):
            # v1 shows those of one user; unless told, of the workspace's owner.
            users: list[Params] = [[]]
            with contextlib.suppress(Refused):  # the owner's own are better than none
                for people in self._v1_pages("/v1/users", [], V1_CONTACTS):
                    users += [[("userId", str(one["id"]))] for one in people if "id" in one]
            for params in users:
                listed = _listed(self._get("/v1/webhooks", params, newer=False))
                for hook in _webhooks(listed, is_new=False):
                    found.setdefault(hook.id, hook)
        return list(found.values())

    def failed_deliveries(
        self, webhook_id: str, since: datetime | None
    ) -> Iterator[tuple[Json, ...]]:
        """Deliveries that the provider gave up on, without their payloads."""
        params = [("status", "failed")]
        params += [("createdAt[gt]", _stamp(since))] if since else []
        return self._pages(f"/webhooks/{_id(webhook_id)}/events", params)

    def delivery(self, webhook_id: str, delivery_id: str) -> Json:
        """A delivery with its payload under `requestBody`."""
        return self._object(f"/webhooks/{_id(webhook_id)}/events/{_id(delivery_id)}")

    # --- lists ---

    def _from_either(self, kind: str, newer: Iterator[T], older: Iterator[T]) -> Iterator[T]:
        """The list of the newer API; where it has none, which is remembered, that of v1."""
        if kind not in self._older:
            try:
                yield from newer
                return
            except NotThere:
                self._older.add(kind)
        yield from older

    def _newest_first(
        self,
        path: str,
        params: Params,
        name: str,
        before: datetime | None,
        inclusive: timedelta,
    ) -> Iterator[Page]:
        """Read a list by time. An expired cursor is replaced by the time reached."""
        reached = before
        while True:
            began_at = reached
            until = [(name, _stamp(reached + inclusive))] if reached else []
            try:
                for items in self._pages(path, [*params, *until]):
                    times = [at for item in items if (at := read_moment(item.get("createdAt")))]
                    reached = min(times, default=reached)
                    yield Page(items, reached)
                return
            except _CursorGone:
                if reached == began_at:
                    raise Unreachable("The phone provider lost its place in a list.") from None

    def _pages(self, path: str, params: Params) -> Iterator[tuple[Json, ...]]:
        cursor: str | None = None
        while True:
            mark = [("after", cursor)] if cursor else []
            try:
                answer = self._get(path, [*params, ("limit", str(PAGE)), *mark])
            except NotThere:
                if cursor:
                    raise _CursorGone from None
                raise
            yield _listed(answer)
            cursor = _next(answer, "nextCursor", cursor)
            if cursor is None:
                return

    def _v1_pages(
        self, path: str, params: Params, size: int = V1_PAGE
    ) -> Iterator[tuple[Json, ...]]:
        token: str | None = None
        while True:
            mark = [("pageToken", token)] if token else []
            sized = [*params, ("maxResults", str(size)), *mark]
            try:
                answer = self._get(path, sized, newer=False)
            except NotThere:
                raise Refused("The phone provider did not understand what we asked.", 400) from None
            yield _listed(answer)
            token = _next(answer, "nextPageToken", token)
            if token is None:
                return

    def _of_each_conversation(
        self, pages: Callable[[Json, datetime | None], Iterator[Page]], since: datetime | None
    ) -> Iterator[Page]:
        """List conversation by conversation, since v1 has no list of everything.

        One that the provider refuses does not stop the others.
        """
        in_a_row = 0
        for conversation in itertools.chain.from_iterable(self.conversations(since)):
            if not isinstance(conversation.get("phoneNumberId"), str) or not _others(conversation):
                continue
            try:
                for page in pages(conversation, since):
                    in_a_row = 0
                    yield page
            except RestError as trouble:
                in_a_row = _counted(trouble, in_a_row)
                needed = {name: conversation.get(name) for name in _NEEDED_TO_ASK}
                missed = Missed("conversation", str(conversation.get("id")), trouble, needed)
                yield Page((), None, (missed,))

    # --- single things ---

    def _one(self, name: str, path: str, v1_path: str) -> Json:
        if name not in self._older:
            with contextlib.suppress(NotThere):
                return self._object(path)
        found = self._object(v1_path, newer=False)
        self._older.add(name)
        return found

    def _several(self, name: str, path: str, v1_path: str) -> list[Json]:
        if name not in self._older:
            with contextlib.suppress(NotThere):
                return [item for items in self._pages(path, []) for item in items]
        found = _listed(self._get(v1_path, [], newer=False))
        self._older.add(name)
        return list(found)

    def _v1_part(self, name: str, call_id: str) -> Json | None:
        try:
            return self._object(f"/v1/call-{name}/{_id(call_id)}", newer=False)
        except NotThere:
            return None

    def _with_aftermath(self, call: Json) -> Json:
        """Complete a call of v1 to the form of the newer API."""
        answered = bool(call.get("answeredAt"))
        name, parts = ("summary", "summaries") if answered else ("voicemail", "voicemails")
        try:
            found = self._v1_part(parts, str(call.get("id")))
        except Refused as refusal:
            if refusal.status not in _PLAN:
                raise
            found = None  # not in this plan
        return {**call, name: found} if found else call

    def _object(self, path: str, params: Params | None = None, *, newer: bool = True) -> Json:
        found = self._get(path, params or [], newer=newer).get("data")
        if not isinstance(found, dict):
            raise Unreachable("The phone provider's answer was not what it promises.")
        return found

    # --- one question ---

    def _get(self, path: str, params: Params, *, newer: bool = True) -> Json:
        answer = self._ask("GET", path, params, newer=newer)
        if not isinstance(answer, dict):
            raise Unreachable("The phone provider's answer was not what it promises.")
        return answer

    def _ask(self, method: str, path: str, params: Params, *, newer: bool = True) -> Any:
        """Send a request, with retries and backoff."""
        for pause in (*self._pauses, None):
            self._wait_for_our_turn()
            try:
                return read_answer(self._line.exchange(method, path, params, newer=newer))
            except Unreachable as trouble:
                if pause is None or (trouble.retry_after or 0) > LONGEST_PAUSE:
                    raise
                pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads a crowd, keeps no secret
                time.sleep(max(pause, trouble.retry_after or 0))
        raise AssertionError("the last try returns or raises")

    def _wait_for_our_turn(self) -> None:
        wait = self._turn - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._turn = time.monotonic() + self._gap


def _counted(trouble: RestError, in_a_row: int) -> int:
    """The number of unanswered requests in a row. Raises `trouble` if more would be no use."""
    in_a_row = in_a_row + 1 if isinstance(trouble, Unreachable) else 0
    if not trouble.is_about_one or in_a_row >= SEVERAL:
        raise trouble
    return in_a_row


def _checked_key(key: str) -> str:
    if not key:
        raise Refused("There is no key for the provider's API (QUO_API_KEY).")
    # The library would put a bad value into its error's text.
    if not re.fullmatch(r"[\x21-\x7e]{1,500}", key):
        raise Refused("QUO_API_KEY must be the key alone, without Bearer and without spaces.")
    return key


# --- what is in an answer ---


def _stamp(moment: datetime) -> str:
    """Format a time for the provider. Never `+00:00`, whose plus would have to be escaped."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _id(value: str) -> str:
    return quote(value, safe="")


def _listed(answer: Json) -> tuple[Json, ...]:
    items = answer.get("data")
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        raise Unreachable("The phone provider's answer was not what it promises.")
    return tuple(item for item in items if isinstance(item, dict))


def _next(answer: Json, name: str, last: str | None) -> str | None:
    cursor = answer.get(name)
    if not isinstance(cursor, str) or not cursor:
        return None
    if cursor == last:
        raise Unreachable("The phone provider's list goes round in circles.")
    return cursor


def _others(conversation: Json) -> list[str]:
    others = conversation.get("participants")
    return [other for other in others if isinstance(other, str)] if isinstance(others, list) else []


def _about(conversation: Json, since: datetime | None) -> Params:
    """The parameters with which v1 lists what belongs to a conversation."""
    everybody = [("participants", number) for number in _others(conversation)]
    after = [("createdAfter", _stamp(since))] if since else []
    return [("phoneNumberId", conversation["phoneNumberId"]), *after, *everybody]


def _in_conversation(item: Json, conversation: Json) -> Json:
    """Add the conversation's id, which v1 leaves out now and then."""
    return {**item, "conversationId": item.get("conversationId") or conversation.get("id")}


def _webhooks(items: Iterable[Json], *, is_new: bool) -> Iterator[Webhook]:
    for item in items:
        events = item.get("events")
        if item.get("id") is None or item.get("deletedAt"):
            continue
        yield Webhook(
            id=str(item["id"]),
            is_new=is_new,
            url=str(item.get("url") or ""),
            enabled=item.get("status") == "enabled",
            events=tuple(map(str, events)) if isinstance(events, list) else (),
        )


def _joined(parts: list[Json]) -> Json | None:
    """Join the transcripts of several recordings, each of which counts from its own start."""
    begins = [read_moment(part.get("startTime")) for part in parts]
    first = min((moment for moment in begins if moment), default=None)
    lines = []
    for part, began in zip(parts, begins, strict=True):
        later = (began - first).total_seconds() if began and first else 0.0
        dialogue = part.get("dialogue")
        for line in dialogue if isinstance(dialogue, list) else ():
            if isinstance(line, dict):
                times = {
                    name: line[name] + later
                    for name in ("start", "end")
                    if isinstance(line.get(name), int | float)
                }
                lines.append({**line, **times, "userId": line.get("userId") or line.get("actorId")})
    return {"dialogue": lines} if lines else None
