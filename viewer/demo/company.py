"""A lively little company: Crack & Dry Foundation Repair and its customers around Boston.

`history` is what happened on its line in the last three months, `trickle` what goes on happening,
and `play` delivers both to a viewer the way the provider would. The same seed tells the same
story, with the same ids and the same media addresses on the same port: playing it twice to one
viewer is a repeat, not a second story.
"""

import functools
import itertools
import json
import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

import requests

from viewer.demo import drawing, film, leaflets, payloads, story
from viewer.demo.payloads import OUR_NUMBER as OUR_NUMBER
from viewer.demo.payloads import File, Payload, Spoken, Thread
from viewer.demo.provider import Provider, Scheme

log = logging.getLogger(__name__)

PERIOD = timedelta(days=90)
# The provider's eight attempts take 27 hours; nobody watches a demo that long.
RETRY_SECONDS = (1, 2, 5, 10, 20, 30, 60)
_OPENING = time(12, 30)  # UTC: the morning in Boston


@dataclass(frozen=True)
class Secrets:
    """What the viewer verifies with; both go into QUO_WEBHOOK_SECRETS."""

    standard: str  # whsec_…
    legacy: str  # base64


@dataclass(frozen=True)
class Scheduled:
    """One delivery: when it happened, what it says, and how it is signed."""

    at: datetime
    payload: Payload
    scheme: Scheme

    @property
    def delivery_id(self) -> str:
        return f"msg_{self.payload['id']}"


def history(provider: Provider, now: datetime, *, seed: int = 1) -> list[Scheduled]:
    """The last three months on the line, oldest first. Its media is served from now on."""
    conversations = story.read()
    rng = random.Random(f"history-{seed}")
    # The quietest conversations are old, the newest a few minutes: as an inbox is.
    ages = [PERIOD * 0.94 * (n / len(conversations)) ** 1.4 for n in range(len(conversations))]
    rng.shuffle(ages)
    told: list[Scheduled] = []
    for n, (conversation, age) in enumerate(zip(conversations, ages, strict=True), start=1):
        told += _tell(_Teller(provider, conversation, n, seed), now, age)
    return sorted(told, key=lambda delivery: delivery.at)


def trickle(provider: Provider, now: datetime, *, seed: int = 1) -> Iterator[Scheduled]:
    """What customers write from `now` on, every 20 to 40 seconds, without end."""
    conversations = story.read()
    rng = random.Random(f"trickle-{seed}-{now.isoformat()}")
    voices = _scripts()["voicemails"]
    at = now
    for n in itertools.count(1):
        at += timedelta(seconds=rng.uniform(20, 40))
        at_number = rng.randrange(len(conversations))
        # Never an id of the history's, nor of another evening's trickle.
        episode = f"-{now:%Y%m%d%H%M%S}-{n}"
        teller = _Teller(provider, conversations[at_number], at_number + 1, seed, episode)
        yield from teller.happens(_anything(rng, teller.thread, voices), at)


def play(
    provider: Provider,
    webhook_url: str,
    secrets: Secrets,
    stop: threading.Event,
    *,
    now: datetime | None = None,
    seed: int = 1,
    threads: int = 4,
    on_history_told: Callable[[int], None] = lambda _delivered: None,
) -> None:
    """Deliver the history as fast as the viewer takes it, then the trickle, until `stop`.

    A delivery that is not answered 2xx is repeated under the same id, as the provider does.
    `on_history_told` is called once, with the number of deliveries that were accepted.
    """
    begun = now or datetime.now(UTC)
    post = functools.partial(_deliver, provider, webhook_url, secrets, stop, threading.local())
    with ThreadPoolExecutor(threads, thread_name_prefix="provider") as pool:
        accepted = sum(pool.map(post, history(provider, begun, seed=seed)))
    if stop.is_set():
        return
    log.info("history told deliveries=%d", accepted)
    on_history_told(accepted)

    for delivery in trickle(provider, datetime.now(UTC), seed=seed):
        if stop.wait(max(0.0, (delivery.at - datetime.now(UTC)).total_seconds())):
            return
        post(delivery)


def _deliver(
    provider: Provider,
    webhook_url: str,
    secrets: Secrets,
    stop: threading.Event,
    of_thread: threading.local,
    delivery: Scheduled,
) -> bool:
    """Whether the viewer took it, after as many attempts as the provider would make."""
    if not hasattr(of_thread, "session"):
        of_thread.session = requests.Session()
    for patience in (*RETRY_SECONDS, None):
        if stop.is_set():
            return False
        try:
            response = provider.deliver(
                webhook_url,
                delivery.payload,
                scheme=delivery.scheme,
                secret=secrets.standard if delivery.scheme == "standard" else secrets.legacy,
                delivery_id=delivery.delivery_id,
                session=of_thread.session,
            )
        except requests.RequestException as error:
            outcome = type(error).__name__
        else:
            if 200 <= response.status_code < 300:  # a redirect is a refusal, too
                return True
            outcome = str(response.status_code)
        if patience is not None:
            log.warning(
                "delivery=%s answer=%s again_in=%ds", delivery.delivery_id, outcome, patience
            )
            stop.wait(patience)
    log.error("delivery=%s given up, last answer=%s", delivery.delivery_id, outcome)
    return False


# -- telling ---------------------------------------------------------------------------------------


def _tell(teller: "_Teller", now: datetime, age: timedelta) -> list[Scheduled]:
    """One conversation, ending about `age` ago, begun in office hours, never in the future."""
    offsets = teller.offsets()
    last_day = (now - age).date()
    first_day = last_day - timedelta(days=offsets[-1].days)
    start = datetime.combine(first_day, _OPENING, UTC) + teller.rng.random() * timedelta(hours=6)
    latest = now - timedelta(minutes=8) - offsets[-1]
    while start > latest:
        start -= timedelta(days=1)
    if not age:
        start = latest  # somebody has just written, whatever the hour

    told = [*teller.introduction(start - timedelta(minutes=30))]
    for offset, beat in zip(offsets, teller.conversation.beats, strict=True):
        told += teller.happens(beat, start + offset)
    return told


class _Teller:
    """Turns one conversation's beats into deliveries and puts its files on the provider."""

    def __init__(
        self,
        provider: Provider,
        conversation: story.Conversation,
        number: int,
        seed: int,
        episode: str = "",
    ) -> None:
        self.provider = provider
        self.conversation = conversation
        self.name = f"demo-{number}{episode}"
        self.rng = random.Random(f"teller-{seed}-{self.name}")
        named = conversation.label and not conversation.is_group
        self.thread = Thread(
            id=f"CNdemo{number}",
            dialect=conversation.dialect,
            others=conversation.numbers,
            contact=f"CTdemo{number}" if named else None,
        )
        self._said = 0
        self._files = 0

    def offsets(self) -> list[timedelta]:
        """When each beat happens, counted from the first: minutes apart, unless the story says."""
        at = timedelta(0)
        offsets: list[timedelta] = []
        for beat in self.conversation.beats:
            if offsets:
                at += (beat.pause or timedelta(0)) + timedelta(minutes=self.rng.uniform(2, 14))
            offsets.append(at)
        return offsets

    def introduction(self, at: datetime) -> Iterator[Scheduled]:
        """The office saves the customer's name."""
        if self.thread.contact is None:
            return
        first, _, last = self.conversation.label.partition(" ")
        card = payloads.contact(self.thread, at, first, last, self.conversation.address)
        yield _scheduled(card)

    def happens(self, beat: story.Beat, at: datetime) -> list[Scheduled]:
        """What the provider delivers when this happens."""
        self._said += 1
        name = f"{self.name}-{self._said}"
        match beat.what:
            case "text":
                files = [self._file(kind) for kind in beat.files]
                told = [payloads.message(self.thread, f"ACmsg-{name}", at, beat.text, files)]
            case "reply" | "failed" | "undelivered" as outcome:
                status = "delivered" if outcome == "reply" else outcome
                told = [
                    payloads.message(self.thread, f"ACmsg-{name}", at, beat.text, status=status)
                ]
            case "missed" | "noname":
                nameless = beat.what == "noname"
                told = payloads.missed_call(self.thread, f"ACcall-{name}", at, nameless=nameless)
            case "voicemail":
                told = self._voicemail(name, beat, at)
            case "call":
                told = self._answered_call(name, at)
            case unknown:
                raise ValueError(f"nothing happens for {unknown!r}")
        return [_scheduled(payload) for payload in told]

    def _voicemail(self, name: str, beat: story.Beat, at: datetime) -> list[Payload]:
        script = next(s for s in _scripts()["voicemails"] if s["name"] == beat.voice)
        if beat.old_phone:
            produce, kind, suffix = film.amr, "audio/amr", ".amr"
        else:
            produce, kind, suffix = film.mp3, "audio/mpeg", ".mp3"
        url = self._serve(functools.partial(produce, beat.voice), kind, suffix=suffix)
        file = File(url, kind, script["seconds"])
        call = f"ACcall-{name}"
        told = payloads.missed_call(self.thread, call, at, voicemail=file)
        if self.thread.dialect == "D3":
            told.append(
                payloads.voicemail(self.thread, f"ACvm-{name}", call, at, file, script["text"])
            )
        return told

    def _answered_call(self, name: str, at: datetime) -> list[Payload]:
        script = _scripts()["call"]
        produce = functools.partial(film.mp3, script["name"])
        url = self._serve(produce, "audio/mpeg", suffix=".mp3")
        return payloads.answered_call(
            self.thread,
            f"ACcall-{name}",
            at,
            File(url, "audio/mpeg", script["seconds"]),
            [
                Spoken(line["who"] == "office", line["content"], line["start"], line["end"])
                for line in script["dialogue"]
            ],
            script["summary"],
            script["next_steps"],
        )

    def _file(self, kind: str) -> File:
        """One file of this kind, behind an address of the provider's; nothing is made yet."""
        seed = self.rng.randrange(1 << 30)
        wall = self.conversation.wall
        voice = self.rng.choice(_scripts()["voicemails"])["name"]
        match kind:
            case "pdf":
                report = functools.partial(leaflets.pdf, self.conversation.label, wall)
                return self._announced(report, "application/pdf")
            case "vcard":
                return self._announced(leaflets.vcard, "text/vcard")
            case "mp4" | "3gp" as container:
                walk = functools.partial(film.pan, seed, container, kind=wall, voice=voice)
                return self._announced(walk, "video/mp4" if container == "mp4" else "video/3gpp")
            case "memo":
                return self._announced(functools.partial(film.voice_3gp, voice), "audio/3gpp")
            case "html":
                return self._announced(leaflets.sign_in_page, "image/jpeg", served_as="text/html")
            case "404":
                gone = self._serve(b"", "text/plain", status=404)
                return File(gone, "image/jpeg")
        return self._photo(kind, seed, **_TROUBLE.get(kind, {}))

    def _photo(self, kind: str, seed: int, **behaviour: Any) -> File:
        rng = random.Random(seed)
        upright = rng.random() < 0.35
        size = drawing.PORTRAIT if upright else drawing.LANDSCAPE
        orientation = 6 if upright and rng.random() < 0.5 else 1
        format: drawing.Format = "JPEG"
        match kind:
            case "heic" | "png" | "webp":
                format, orientation = _FORMATS[kind], 1
            case "12mp":
                size, orientation = drawing.TWELVE_MEGAPIXELS, 1
            case "turned":
                orientation = rng.choice((3, 6, 6, 8))
                size = drawing.LANDSCAPE if orientation == 3 else drawing.PORTRAIT
        produce = functools.partial(
            _photo_bytes, seed, self.conversation.wall, size, format, orientation
        )
        return self._announced(produce, f"image/{format.lower()}", **behaviour)

    def _announced(
        self,
        produce: Callable[[], bytes],
        kind: str,
        *,
        served_as: str | None = None,
        **behaviour: Any,
    ) -> File:
        url = self._serve(produce, served_as or kind, **behaviour)
        # The new system leaves the type out now and then.
        forgotten = self.thread.dialect == "D3" and self.rng.random() < 0.2
        return File(url, None if forgotten else kind)

    def _serve(
        self,
        content: bytes | Callable[[], bytes],
        content_type: str,
        *,
        suffix: str = "",
        **behaviour: Any,
    ) -> str:
        self._files += 1
        name = f"{self.name}-file-{self._files}"
        return self.provider.serve(
            content, content_type=content_type, path_suffix=suffix, name=name, **behaviour
        )


_TROUBLE: dict[str, dict[str, Any]] = {"503": {"fail_first": 2}, "slow": {"delay": 3.0}}
_FORMATS: dict[str, drawing.Format] = {"heic": "HEIC", "png": "PNG", "webp": "WEBP"}


def _photo_bytes(
    seed: int, wall: str, size: tuple[int, int], format: drawing.Format, orientation: int
) -> bytes:
    picture = drawing.crack_photo(seed, size=size, kind=wall)
    return drawing.encode(picture, format, orientation, seed=seed)


def _scheduled(payload: Payload) -> Scheduled:
    new = "resource" in payload["data"]
    at = datetime.fromisoformat(payload["createdAt"])
    return Scheduled(at, payload, "standard" if new else "legacy")


# -- what goes on happening ------------------------------------------------------------------------

_NEWS = (
    "Good morning, any news about our appointment?",
    "It rained again and the spot is back.",
    "Is Friday still good?",
    "Just paid the invoice, thank you!",
    "Can you call me when you have a minute?",
    "The crew did a great job yesterday.",
    "Forgot to ask: is it safe to paint over it?",
    "My neighbor wants your number, hope that's ok",
    "I measured again, same width as last month.",
    "We are home after 4 today.",
)
_WITH_PHOTOS = ("", "", "This is from today", "Better light now", "Same crack, other side", "See?")


def _anything(rng: random.Random, thread: Thread, voices: Iterable[dict[str, Any]]) -> story.Beat:
    """A text, photos, or a voicemail where the dialect can carry one."""
    chance = rng.random()
    if chance < 0.12 and thread.dialect != "D2":
        voice = rng.choice([script["name"] for script in voices])
        return story.Beat("voicemail", voice=voice, old_phone=rng.random() < 0.3)
    if chance < 0.6:
        kind = rng.choice(("photo", "photo", "photo", "turned", "heic"))
        return story.Beat("text", rng.choice(_WITH_PHOTOS), (kind,) * rng.randint(1, 3))
    return story.Beat("text", rng.choice(_NEWS))


@functools.cache
def _scripts() -> dict[str, Any]:
    """What the voices say (`voices/scripts.json`)."""
    said: dict[str, Any] = json.loads((film.VOICES / "scripts.json").read_text(encoding="utf-8"))
    return said
