"""A stand-in of the provider's REST API, both surfaces, over plain objects.

    workspace = rest.Workspace(key="demo-key")
    base = workspace.mount(provider)      # what QUO_API_URL is set to

It is as strict as the real one: a version header or `maxResults` that is missing is a 400, `Bearer`
a 401, the eleventh request of a second a 429, and a place mark goes stale. Objects are kept as the
newer surface (2026-03-30) tells them; v1 tells the same in its own words.
"""

import base64
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from viewer.demo import drawing
from viewer.demo.company import Scheduled
from viewer.demo.payloads import OUR_NUMBER
from viewer.demo.provider import Answer, Provider, Request

Json = dict[str, Any]

VERSION = "2026-03-30"
LINE = "PNdemo1"
_DEAD = (401, 403, 404, 410)


class _Wrong(Exception):
    """The question deserves no answer but this status."""

    def __init__(self, status: int, title: str, retry_after: int | None = None) -> None:
        super().__init__(title)
        self.status, self.title, self.retry_after = status, title, retry_after


@dataclass
class Workspace:
    """What the provider knows. Everything may be changed while it is mounted."""

    key: str = "demo-key"
    messages: dict[str, Json] = field(default_factory=dict)
    calls: dict[str, Json] = field(default_factory=dict)  # with `voicemail` and `summary` inside
    recordings: dict[str, list[Json]] = field(default_factory=dict)  # by call
    transcripts: dict[str, list[Json]] = field(default_factory=dict)  # by call
    contacts: dict[str, Json] = field(default_factory=dict)  # as v1 tells them
    lines: list[Json] = field(
        default_factory=lambda: [{"id": LINE, "phoneNumber": OUR_NUMBER, "name": "Office"}]
    )
    webhooks: list[Json] = field(default_factory=list)
    v1_webhooks: list[Json] = field(default_factory=list)
    deliveries: dict[str, list[Json]] = field(default_factory=dict)  # by webhook
    # How it misbehaves.
    only_v1: bool = False  # the newer surface does not know messages and calls
    rate: int = 10  # requests a second
    cursor_seconds: float = 60.0
    delay: float = 0.0
    # What these are part of (a path, a parameter's value) is answered so, each time.
    broken: dict[str, int] = field(default_factory=dict)
    # A living address for one that may be dead; asked when one message is asked for.
    fresh: Callable[[str], str] | None = None
    asked: list[Request] = field(default_factory=list)
    _faults: deque[_Wrong] = field(default_factory=deque)
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _prefix: str = ""

    def mount(self, provider: Provider, prefix: str = "/api") -> str:
        """Answer below `prefix`; the address to ask."""
        self._prefix = prefix
        provider.mount(f"{prefix}/", self.answer)
        return provider.url + prefix

    def fail_next(self, times: int, status: int = 503, *, retry_after: int | None = None) -> None:
        """Answer the next requests with this, whatever they ask."""
        self._faults.extend([_Wrong(status, "As told", retry_after)] * times)

    def answer(self, request: Request) -> Answer:
        if self.delay:
            time.sleep(self.delay)
        with self._lock:
            self.asked.append(request)
            path = request.path.removeprefix(self._prefix)
            try:
                self._let_in(request)
                return _json(202 if request.method == "POST" else 200, self._find(request, path))
            except _Wrong as wrong:
                said: Json = {
                    "message": wrong.title,
                    "docs": "https://quo.com/docs",
                    "title": wrong.title,
                }
                if path.startswith("/v1/"):
                    said |= {"code": f"0200{wrong.status}", "status": wrong.status}
                wait = {} if wrong.retry_after is None else {"Retry-After": str(wrong.retry_after)}
                return _json(wrong.status, said, wait)

    def _let_in(self, request: Request) -> None:
        if self._faults:
            raise self._faults.popleft()
        moment = time.monotonic()
        while self._recent and self._recent[0] <= moment - 1:
            self._recent.popleft()
        if len(self._recent) >= self.rate:
            raise _Wrong(429, "Too Many Requests")
        self._recent.append(moment)
        if request.headers.get("authorization") != self.key:  # "Bearer …" is none either
            raise _Wrong(401, "Unauthorized")
        asked = [request.path, *(value for _, value in request.query)]
        for part, status in self.broken.items():
            if any(part in told for told in asked):
                raise _Wrong(status, "As told")

    def _find(self, request: Request, path: str) -> Json:
        for method, pattern, newer, find in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match is None or method != request.method:
                continue
            if newer and request.headers.get("quo-api-version") != VERSION:
                raise _Wrong(400, "Bad Request")
            if newer and self.only_v1 and re.match("/(messages|calls|conversations)", path):
                break
            return find(self, _Question(request), *match.groups())
        raise _Wrong(404, "Not Found")

    # -- shared by both surfaces

    def conversations(self) -> list[Json]:
        found: dict[str, Json] = {}
        for item in [*self.messages.values(), *self.calls.values()]:
            known = found.setdefault(
                item["conversationId"],
                {
                    "id": item["conversationId"],
                    "phoneNumberId": item["phoneNumberId"],
                    "participants": others(item),
                    "createdAt": item["createdAt"],
                    "updatedAt": item["createdAt"],
                },
            )
            known["updatedAt"] = max(known["updatedAt"], item["createdAt"])
        return list(found.values())

    def renewed(self, message: Json) -> Json:
        """The message, each of its files under an address that is alive."""
        if self.fresh is not None:
            for item in message["media"]:
                item["url"] = self.fresh(item["url"])
        return message


class _Question:
    """The parameters of a request."""

    def __init__(self, request: Request) -> None:
        self._query = request.query

    def one(self, name: str) -> str | None:
        return next((value for key, value in self._query if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._query if key == name]

    def needed(self, name: str) -> str:
        value = self.one(name)
        if not value:
            raise _Wrong(400, "Bad Request")
        return value

    def number(self, name: str, default: int | None, largest: int) -> int:
        text = self.one(name) or ("" if default is None else str(default))
        if not text.isdigit() or not 1 <= int(text) <= largest:
            raise _Wrong(400, "Bad Request")
        return int(text)

    def time(self, name: str) -> datetime | None:
        text = self.one(name)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise _Wrong(400, "Bad Request") from None
        if moment.tzinfo is None:
            raise _Wrong(400, "Bad Request")
        return moment


def others(item: Json) -> list[str]:
    """Everybody but us in a message or a call."""
    named = [item.get("from"), *item.get("to", ())]
    named += [person["phoneNumber"] for person in item.get("participants", ())]
    return [number for number in dict.fromkeys(named) if number and number != OUR_NUMBER]


def _json(status: int, said: Json, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(said).encode(), headers=headers or {})


def _at(item: Json) -> datetime:
    return datetime.fromisoformat(item["createdAt"])


def _known(found: Json | None) -> Json:
    if found is None:
        raise _Wrong(404, "Not Found")
    return found


# -- the newer surface ---------------------------------------------------------------------------


def _page(work: Workspace, asked: _Question, items: Iterable[Json]) -> Json:
    """A page of these, in their order, and a mark of the place that soon goes stale."""
    size, after, listed = asked.number("limit", 10, 50), asked.one("after"), list(items)
    start = 0
    if after is not None:
        try:
            mark = json.loads(base64.urlsafe_b64decode(after))
        except ValueError:
            raise _Wrong(400, "Bad Request") from None
        if mark["until"] < time.monotonic():
            raise _Wrong(400, "Bad Request")
        ids = [item.get("id") for item in listed]
        start = ids.index(mark["last"]) + 1 if mark["last"] in ids else len(ids)
    shown = listed[start : start + size]
    more = start + size < len(listed)
    mark = {
        "last": shown[-1].get("id") if shown else "",
        "until": time.monotonic() + work.cursor_seconds,
    }
    cursor = base64.urlsafe_b64encode(json.dumps(mark).encode()).decode()
    return {"data": shown, "nextCursor": cursor if more else None}


def _between(
    asked: _Question, items: Iterable[Json], newer: str, older: str, *, inclusive: bool
) -> list[Json]:
    """Newest first, those in the time that was asked for."""
    begin, end = asked.time(f"createdAt[{newer}]"), asked.time(f"createdAt[{older}]")
    return [
        item
        for item in sorted(items, key=_at, reverse=True)
        if (begin is None or _at(item) > begin or (inclusive and _at(item) == begin))
        and (end is None or _at(item) < end or (inclusive and _at(item) == end))
    ]


def _messages(work: Workspace, asked: _Question) -> Json:
    return _page(work, asked, _between(asked, work.messages.values(), "gt", "lt", inclusive=False))


def _message(work: Workspace, _: _Question, id: str) -> Json:
    return {"data": work.renewed(_known(work.messages.get(id)))}


def _calls(work: Workspace, asked: _Question) -> Json:
    found = _between(asked, work.calls.values(), "gte", "lte", inclusive=True)
    return _page(work, asked, [_including(asked, call) for call in found])


def _call(work: Workspace, asked: _Question, id: str) -> Json:
    return {"data": _including(asked, _known(work.calls.get(id)))}


def _including(asked: _Question, call: Json) -> Json:
    """A key that was not asked for, or for which there is nothing, is absent."""
    wanted = (asked.one("include") or "").split(",")
    parts = ("summary", "voicemail")
    left_out = [name for name in parts if name not in wanted or not call.get(name)]
    return {name: value for name, value in call.items() if name not in left_out}


def _of_call(kind: str) -> Callable[..., Json]:
    def find(work: Workspace, asked: _Question, id: str) -> Json:
        _known(work.calls.get(id))
        return _page(work, asked, getattr(work, kind).get(id, []))

    return find


def _conversations(work: Workspace, asked: _Question) -> Json:
    since = asked.time("updatedAt[gte]")
    return _page(
        work,
        asked,
        [
            item
            for item in work.conversations()
            if since is None or datetime.fromisoformat(item["updatedAt"]) >= since
        ],
    )


def _lines(work: Workspace, asked: _Question) -> Json:
    return _page(work, asked, work.lines)


def _webhooks(work: Workspace, asked: _Question) -> Json:
    return _page(work, asked, work.webhooks)


def _deliveries(work: Workspace, asked: _Question, id: str) -> Json:
    status = asked.one("status")
    found = _between(asked, work.deliveries.get(id, []), "gt", "lt", inclusive=False)
    told = [
        {name: value for name, value in item.items() if name not in ("requestBody", "attempts")}
        for item in found
        if status in (None, item["status"])
    ]
    return _page(work, asked, told)


def _delivery(work: Workspace, _: _Question, id: str, delivery: str) -> Json:
    found = (item for item in work.deliveries.get(id, []) if item["id"] == delivery)
    return {"data": _known(next(found, None))}


# -- v1 ------------------------------------------------------------------------------------------


def _v1_page(asked: _Question, items: list[Json], largest: int = 100) -> Json:
    size, start = asked.number("maxResults", None, largest), int(asked.one("pageToken") or 0)
    token = str(start + size) if start + size < len(items) else None
    shown = items[start : start + size]
    return {"data": shown, "totalItems": len(shown), "nextPageToken": token}


def _v1_of_people(asked: _Question, items: Iterable[Json]) -> list[Json]:
    line, people = asked.needed("phoneNumberId"), asked.all("participants")
    # "Anonymous" stands in a conversation, and cannot be asked for.
    if not people or not all(re.fullmatch(r"\+[1-9][0-9]{1,14}", one) for one in people):
        raise _Wrong(400, "Bad Request")
    after = asked.time("createdAfter")
    return [
        item
        for item in sorted(items, key=_at, reverse=True)
        if item["phoneNumberId"] == line
        and set(others(item)) == set(people)
        and (after is None or _at(item) > after)
    ]


def _v1_messages(work: Workspace, asked: _Question) -> Json:
    return _v1_page(asked, _v1_of_people(asked, work.messages.values()))


def _v1_calls(work: Workspace, asked: _Question) -> Json:
    if len(asked.all("participants")) != 1:
        raise _Wrong(400, "Bad Request")
    return _v1_page(asked, [_v1_told(call) for call in _v1_of_people(asked, work.calls.values())])


def _v1_call(work: Workspace, _: _Question, id: str) -> Json:
    return {"data": _v1_told(_known(work.calls.get(id)))}


def _v1_told(call: Json) -> Json:
    numbers = [person["phoneNumber"] for person in call["participants"]]
    left_out = ("summary", "voicemail", "conversationId")
    return {k: v for k, v in call.items() if k not in left_out} | {"participants": numbers}


def _v1_part(name: str) -> Callable[..., Json]:
    def find(work: Workspace, _: _Question, id: str) -> Json:
        return {"data": _known(_known(work.calls.get(id)).get(name))}

    return find


def _v1_recordings(work: Workspace, _: _Question, id: str) -> Json:
    _known(work.calls.get(id))
    return {"data": work.recordings.get(id, [])}


def _v1_transcript(work: Workspace, _: _Question, id: str) -> Json:
    found = work.transcripts.get(id)
    return {"data": _known(found[0] | {"callId": id} if found else None)}


def _v1_conversations(work: Workspace, asked: _Question) -> Json:
    after = asked.time("updatedAfter")
    return _v1_page(
        asked,
        [
            item
            for item in work.conversations()
            if after is None or datetime.fromisoformat(item["updatedAt"]) > after
        ],
    )


def _v1_lines(work: Workspace, _: _Question) -> Json:
    return {"data": [{**line, "number": line["phoneNumber"]} for line in work.lines]}


def _v1_contacts(work: Workspace, asked: _Question) -> Json:
    return _v1_page(asked, list(work.contacts.values()), 50)


def _v1_users(_work: Workspace, asked: _Question) -> Json:
    return _v1_page(asked, [{"id": "USdemo1"}, {"id": "USdemo2"}], 50)


def _v1_webhooks(work: Workspace, asked: _Question) -> Json:
    """Those of one user; of the owner, unless another is named."""
    user = asked.one("userId") or "USdemo1"
    return {"data": [hook for hook in work.v1_webhooks if hook.get("userId", "USdemo1") == user]}


# A path's id is `AC…`, `msg_…`, digits: anything without a slash.
_ROUTES: list[tuple[str, str, bool, Callable[..., Json]]] = [
    ("GET", "/messages", True, _messages),
    ("GET", "/messages/(AC[^/]*)", True, _message),
    ("GET", "/calls", True, _calls),
    ("GET", "/calls/(AC[^/]*)", True, _call),
    ("GET", "/calls/(AC[^/]*)/recordings", True, _of_call("recordings")),
    ("GET", "/calls/(AC[^/]*)/transcripts", True, _of_call("transcripts")),
    ("GET", "/conversations", True, _conversations),
    ("GET", "/phone-numbers", True, _lines),
    ("GET", "/webhooks", True, _webhooks),
    ("GET", "/webhooks/([0-9]+)/events", True, _deliveries),
    ("GET", "/webhooks/([0-9]+)/events/([^/]+)", True, _delivery),
    ("GET", "/v1/messages", False, _v1_messages),
    ("GET", "/v1/messages/(AC[^/]*)", False, _message),
    ("GET", "/v1/calls", False, _v1_calls),
    ("GET", "/v1/calls/(AC[^/]*)", False, _v1_call),
    ("GET", "/v1/call-recordings/(AC[^/]*)", False, _v1_recordings),
    ("GET", "/v1/call-voicemails/(AC[^/]*)", False, _v1_part("voicemail")),
    ("GET", "/v1/call-summaries/(AC[^/]*)", False, _v1_part("summary")),
    ("GET", "/v1/call-transcripts/(AC[^/]*)", False, _v1_transcript),
    ("GET", "/v1/conversations", False, _v1_conversations),
    ("GET", "/v1/phone-numbers", False, _v1_lines),
    ("GET", "/v1/contacts", False, _v1_contacts),
    ("GET", "/v1/users", False, _v1_users),
    ("GET", "/v1/webhooks", False, _v1_webhooks),
]


# -- the company's ---------------------------------------------------------------------------------


def of_company(
    provider: Provider, history: Iterable[Scheduled], webhook_url: str, *, key: str = "demo-key"
) -> Workspace:
    """The workspace in which this history happened. A dead photo is alive again when asked for."""
    work = Workspace(key=key, fresh=_Reviver(provider))
    parties: dict[str, list[str]] = {}
    for delivery in history:
        learn(work, delivery.payload, parties)
    for call in work.calls.values():
        if not call["participants"]:  # the delivery forgot who took part; the workspace knows
            call["participants"] = _people(parties.get(call["conversationId"], []))
    names = ("message.received", "message.delivered", "call.completed", "call.recording.completed")
    work.webhooks.append(
        {
            "id": "1",
            "label": "viewer",
            "status": "enabled",
            "url": webhook_url,
            "events": [*names, "call.voicemail.completed", "contact.updated"],
            "apiVersion": VERSION,
        }
    )
    return work


def learn(work: Workspace, payload: Json, parties: dict[str, list[str]]) -> None:
    """Know what this delivery tells, whichever dialect it is in."""
    data, kind = payload["data"], str(payload["type"])
    thing, context = data.get("resource") or data["object"], data.get("context", {})
    link = data.get("deepLink") or (data.get("links") or {}).get("quo") or ""
    place = re.search(r"/c/(CN[A-Za-z0-9]+)", link)
    known = thing.get("conversationId") or context.get("conversationId")
    where = str(known or (place and place[1]))
    if kind.startswith("message."):
        told = _learn_message(work, thing, context, where)
        parties[where] = others(told)
    elif kind == "contact.updated":
        _learn_contact(work, thing)
    elif kind.startswith("call."):
        _learn_call(work, kind, thing, context, where)


def _learn_message(work: Workspace, thing: Json, context: Json, where: str) -> Json:
    to = context.get("recipientIdentifiers") or thing["to"]
    told = {
        "id": thing["id"],
        "from": context.get("senderIdentifier") or thing["from"],
        "to": to.split(",") if isinstance(to, str) else list(to),
        "text": thing.get("text", thing.get("body")),
        "direction": thing["direction"],
        "status": thing["status"],
        "media": [{"url": m["url"], "type": m.get("type")} for m in thing.get("media", ())],
        "conversationId": where,
        "phoneNumberId": LINE,
        "userId": "USdemo1",
        "createdAt": thing["createdAt"],
        "updatedAt": thing["createdAt"],
    }
    work.messages[told["id"]] = told
    return told


def _learn_contact(work: Workspace, thing: Json) -> None:
    numbers = thing.get("fields", {}).get("Phone") or [n["value"] for n in thing["phoneNumbers"]]
    work.contacts[thing["id"]] = {
        "id": thing["id"],
        "defaultFields": {
            **{name: thing.get(name) for name in ("firstName", "lastName", "company", "role")},
            "emails": [],
            "phoneNumbers": [
                {"id": str(n), "name": "phone", "value": value} for n, value in enumerate(numbers)
            ],
        },
        "customFields": [],
        "createdAt": thing["createdAt"],
        "updatedAt": thing["updatedAt"],
    }


def _learn_call(work: Workspace, kind: str, thing: Json, context: Json, where: str) -> None:
    id = thing.get("callId") or thing["id"]
    call = work.calls.setdefault(
        id,
        {
            "id": id,
            "direction": "incoming",
            "status": "completed",
            "participants": [],
            "phoneNumberId": LINE,
            "conversationId": where,
            "createdAt": thing.get("createdAt"),
        },
    )
    people = context.get("participants", {}).get("external") or thing.get("participants")
    people = people or [number for number in (thing.get("from"), thing.get("to")) if number]
    if people:
        call["participants"] = _people([n for n in people if n != OUR_NUMBER])
    match kind:
        case "call.voicemail.completed":
            parts = ("duration", "transcript", "recordingUrl")
            call["voicemail"] = {name: thing.get(name) for name in parts} | {
                "id": thing["voicemailId"],
                "status": "completed",
            }
        case "call.summary.completed":
            call["summary"] = {"summary": thing["summary"], "nextSteps": thing["nextSteps"]}
        case "call.transcript.completed":
            work.transcripts[id] = [{"status": "completed", "dialogue": thing["dialogue"]}]
        case _:
            names = ("createdAt", "answeredAt", "completedAt", "updatedAt", "duration")
            call |= {name: thing[name] for name in names if name in thing}
            if recordings := thing.get("recordings"):
                work.recordings[id] = [item | {"status": "completed"} for item in recordings]
            if voicemail := thing.get("voicemail"):
                call["voicemail"] = {
                    "id": f"VM-{id}",
                    "status": "completed",
                    "duration": voicemail.get("duration"),
                    "transcript": None,
                    "recordingUrl": voicemail["url"],
                }


def _people(numbers: Iterable[str]) -> list[Json]:
    told = [{"phoneNumber": number, "actorId": None} for number in numbers]
    return [*told, {"phoneNumber": OUR_NUMBER, "actorId": "USdemo1"}] if told else []


class _Reviver:
    """Gives a dead address a living successor: the customer's photo was there all the time."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._successors: dict[str, str] = {}

    def __call__(self, url: str) -> str:
        if url not in self._successors:
            with requests.get(url, stream=True, timeout=10) as answer:  # HEAD is not served
                is_dead = answer.status_code in _DEAD
            self._successors[url] = self._photo(url) if is_dead else url
        return self._successors[url]

    def _photo(self, url: str) -> str:
        picture = drawing.crack_photo(len(url), size=drawing.LANDSCAPE, kind="poured")
        content = drawing.encode(picture, "JPEG", 1, seed=1)
        return self._provider.serve(content, content_type="image/jpeg", name=f"fresh {url}")


def stamp(moment: datetime) -> str:
    """A time as the provider writes it."""
    return (
        moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    )
