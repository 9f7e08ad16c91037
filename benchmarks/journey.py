"""How quickly a webhook is answered, and a photo seen, while others write, too.

First one worker and nothing else to do: from the answer to the thumbnail on the page. Then what
contends for the database's write lock, all at once: 200 deliveries with a photo of 2 MB each; two
workers, which ingest a backlog of events, store downloads and note copies; the scheduler; and a
person, who opens conversations (each view notes what was seen), links their photos to a quote, and
takes them off again. Each part is a `viewer up` of its own, with the stand-in provider on loopback.

    python -m benchmarks.journey [--deliveries 200] [--backlog 1000] [--photos 8]
"""

import argparse
import io
import itertools
import multiprocessing
import random
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import requests
from PIL import Image

from benchmarks import figures, hosts
from tests.payloads import Message
from tests.support import staff
from viewer.demo.provider import Provider

LOOKS = 0.05  # seconds that a person looks at a page: a lively one
THERE = 5  # photos from the start
CONVERSATION = re.compile(r"/conversations/[0-9a-f-]{36}")
THUMBNAIL = re.compile(r"/media/([0-9a-f-]{36})/thumbnail")


def photo(megabytes: float, seed: int = 1) -> bytes:
    """A noisy JPEG of about this size."""
    rng = random.Random(seed)
    side = 2000
    while True:
        noise = Image.frombytes("L", (side // 8, side // 8), rng.randbytes((side // 8) ** 2))
        picture = Image.merge("RGB", [noise.resize((side, side))] * 3)
        grain = Image.effect_noise((side, side), 60).convert("RGB")
        out = io.BytesIO()
        Image.blend(picture, grain, 0.3).save(out, "JPEG", quality=88)
        if out.tell() >= megabytes * 1e6:
            return out.getvalue()
        side = int(side * 1.2)


@dataclass
class Person:
    """What a person at a desk waits for, in milliseconds."""

    views: list[float] = field(default_factory=list)
    links: list[float] = field(default_factory=list)

    def work(self, base: str, seconds: float) -> "Person":
        """Open conversations, link photos to a quote, and take them off again."""
        browser, end = staff.enter(base), time.monotonic() + seconds
        inbox = self._timed(self.views, browser.get, base)
        talks = itertools.cycle(dict.fromkeys(CONVERSATION.findall(inbox.text)))
        gallery = self._timed(self.views, browser.get, f"{base}/photos")
        photos = itertools.cycle(dict.fromkeys(THUMBNAIL.findall(gallery.text)))
        record = ""
        while time.monotonic() < end or not self.links:
            page = self._timed(self.views, browser.get, base + next(talks))
            form = {"csrf_token": token_of(page.text), "media": next(photos)}
            if not record:
                answer = browser.post(f"{base}/work/link/quote", data=form, timeout=30)
                found = re.search(r"/work/([0-9a-f-]{36})", answer.url + answer.text)
                assert found, answer.text[:300]
                record = found[1]
            for address in ("/work/link", "/work/unlink"):
                ask = partial(browser.post, data=form | {"record": record}, allow_redirects=False)
                self._timed(self.links, ask, base + address)
                time.sleep(LOOKS)
        return self

    @staticmethod
    def _timed(
        times: list[float], ask: Callable[..., requests.Response], address: str
    ) -> requests.Response:
        begun = time.perf_counter()
        answer = ask(address, timeout=30)
        times.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code < 400, (answer.url, answer.status_code, answer.text[:300])
        return answer


def token_of(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, page[:300]
    return found[1]


def answers_under_load(
    report: figures.Report, host: hosts.Host, provider: Provider, asked: argparse.Namespace
) -> None:
    big = photo(asked.megabytes)
    first_asked: dict[int, float] = {}

    def served(number: int) -> bytes:
        first_asked.setdefault(number, time.time())
        return big

    messages = [
        Message(
            number=number,
            media=[provider.serve(partial(served, number), content_type="image/jpeg")],
            sender=f"+1617555{100 + number % 50:04d}", conversation=f"CNbench{number % 50}",
        )
        for number in range(asked.deliveries)
    ]  # fmt: skip
    backlog = [
        Message(number=100_000 + number, sender=f"+1617555{100 + number % 50:04d}",
                conversation=f"CNbench{number % 50}")
        for number in range(asked.backlog)
    ]  # fmt: skip
    collect_first(host, provider)
    # From processes of their own: this one is busy serving the photos.
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.apply(hosts.deliver, (host.base, backlog))
        person = pool.apply_async(Person().work, (host.base, asked.deliveries * 0.04))
        answers = pool.apply(deliver_all, (host.base, messages))
        waited = person.get()
    times = [took for took, _ in answers]
    early = sum(
        first_asked.get(number, float("inf")) > answered
        for number, (_, answered) in enumerate(answers)
    )
    middle, page = statistics.median(times), statistics.median(waited.views)
    p95 = figures.quantile(times, 0.95)
    report.add("journey.webhook", middle, "ms", f"p95 {p95:.0f} ms, worst {max(times):.0f} ms")
    report.add("journey.page", page, "ms", f"worst {max(waited.views):.0f} ms")
    report.say(
        f"webhook answered, workers and a person writing: {spread(times)}; "
        f"{early} of {len(times)} before the media host was asked"
    )
    report.say(f"meanwhile, {len(waited.views)} pages of a person: {spread(waited.views)}")
    report.say(f"{len(waited.links)} links and unlinks: {spread(waited.links)}")


def collect_first(host: hosts.Host, provider: Provider) -> None:
    """Let photos be there that a person can link."""
    url = provider.serve(photo(0.2), content_type="image/jpeg")
    messages = [
        Message(number=200_000 + number, media=[url], sender=f"+1617555{100 + number:04d}",
                conversation=f"CNbench{number}")
        for number in range(THERE)
    ]  # fmt: skip
    hosts.deliver(host.base, messages)
    host.wait_for("media_attachments", "copy_state = 'made'", THERE, 60)


def spread(times: list[float]) -> str:
    return (
        f"median {statistics.median(times):.1f} ms, p95 {figures.quantile(times, 0.95):.1f} ms, "
        f"worst {max(times):.1f} ms"
    )


def deliver_all(base: str, messages: list[Message]) -> list[tuple[float, float]]:
    """For each: milliseconds until the answer, and when it came."""
    answers = []
    for message in messages:
        [took] = hosts.deliver(base, [message], clients=1)
        answers.append((took * 1000, time.time()))
        time.sleep(0.02)
    return answers


def until_seen(
    report: figures.Report, base: str, provider: Provider, asked: argparse.Namespace
) -> None:
    """From the answer to the thumbnail on the page, one worker, nothing else to do."""
    took = []
    session = staff.enter(base)
    for number in range(1000, 1000 + asked.photos):
        url = provider.serve(photo(asked.megabytes, seed=number), content_type="image/jpeg")
        text = f"bench {number}"
        sender = f"+1617555{number % 100:04d}"
        message = Message(
            number=number, text=text, media=[url], sender=sender, conversation=f"CNbench{number}"
        )
        hosts.deliver(base, [message], clients=1)
        answered = time.monotonic()
        hosts.wait(partial(thumbnail_of, base, session, text), 30, every=0.02)
        took.append(time.monotonic() - answered)
    middle = statistics.median(took)
    report.add("journey.seen", middle, "s", f"worst {max(took):.2f} s")
    report.say(
        f"from the answer to the thumbnail of a 2 MB photo, one worker: median {middle:.2f} s, "
        f"worst {max(took):.2f} s"
    )


def thumbnail_of(base: str, session: requests.Session, text: str) -> bool:
    inbox = session.get(base, timeout=10).text
    before = inbox.split(text)[0] if text in inbox else ""
    links = CONVERSATION.findall(before)
    if not links:
        return False
    page = session.get(base + links[-1], timeout=10).text
    if not (thumbnail := THUMBNAIL.search(page)):
        return False
    return session.get(base + thumbnail[0], timeout=10).status_code == 200


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with Provider() as provider:
        with hosts.running(workers=1) as host:
            staff.hire(host.environment)
            until_seen(report, host.base, provider, asked)
        with hosts.running(workers=2) as host:
            staff.hire(host.environment)
            answers_under_load(report, host, provider, asked)


if __name__ == "__main__":
    figures.run(
        __doc__, measure,
        deliveries=(200, 20), backlog=(1_000, 40), photos=(8, 1), megabytes=(2.0, 0.2),
    )  # fmt: skip
