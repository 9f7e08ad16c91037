"""How quickly a webhook is answered, and a photo seen: the README's figures come from here.

Starts `viewer up` as a newcomer would, on a folder of its own, with the stand-in provider on
loopback, and measures through HTTP. Run it with `make bench`.
"""

import functools
import io
import multiprocessing
import random
import re
import statistics
import time

import requests
from PIL import Image

from benchmarks import hosts
from tests.payloads import Message
from tests.support import staff
from viewer.demo.provider import Provider


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


def answers_under_load(base: str, provider: Provider) -> None:
    """Each of 200 deliveries brings a 2 MB photo, so that the workers download all the while."""
    big = photo(2)
    asked: dict[int, float] = {}

    def served(number: int) -> bytes:
        asked.setdefault(number, time.time())
        return big

    messages = [
        Message(
            number=number,
            media=[provider.serve(functools.partial(served, number), content_type="image/jpeg")],
        )
        for number in range(200)
    ]
    # From a process of its own: this one is busy serving the photos.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answers = pool.apply(deliver_all, (base, messages))
    times = sorted(took for took, _ in answers)
    early = sum(
        asked.get(number, float("inf")) > answered for number, (_, answered) in enumerate(answers)
    )
    print(
        f"webhook answered, workers downloading: median {statistics.median(times):.1f} ms, "
        f"p95 {times[int(len(times) * 0.95)]:.1f} ms, worst {times[-1]:.1f} ms; "
        f"{early} of {len(times)} before the media host was asked"
    )


def deliver_all(base: str, messages: list[Message]) -> list[tuple[float, float]]:
    """For each: milliseconds until the answer, and when it came."""
    answers = []
    for message in messages:
        [took] = hosts.deliver(base, [message], clients=1)
        answers.append((took * 1000, time.time()))
        time.sleep(0.02)
    return answers


def until_seen(base: str, provider: Provider) -> None:
    """From the answer to the thumbnail on the page, one worker, nothing else to do."""
    took = []
    session = staff.enter(base)
    for number in range(1000, 1012):
        url = provider.serve(photo(2, seed=number), content_type="image/jpeg")
        text = f"bench {number}"
        sender = f"+1617555{number % 100:04d}"
        message = Message(
            number=number, text=text, media=[url], sender=sender, conversation=f"CNbench{number}"
        )
        hosts.deliver(base, [message], clients=1)
        answered = time.monotonic()
        hosts.wait(functools.partial(thumbnail_of, base, session, text), 30, every=0.02)
        took.append(time.monotonic() - answered)
    print(
        f"from the answer to the thumbnail of a 2 MB photo, one worker: median "
        f"{statistics.median(took):.2f} s, worst {max(took):.2f} s"
    )


def thumbnail_of(base: str, session: requests.Session, text: str) -> bool:
    inbox = session.get(base, timeout=10).text
    before = inbox.split(text)[0] if text in inbox else ""
    links = re.findall(r"/conversations/[0-9a-f-]{36}", before)
    if not links:
        return False
    page = session.get(base + links[-1], timeout=10).text
    thumbnail = re.search(r"/media/[0-9a-f-]{36}/thumbnail", page)
    return bool(thumbnail) and session.get(base + thumbnail[0], timeout=10).status_code == 200


def main() -> None:
    with Provider() as provider:
        with hosts.running(workers=1) as host:
            staff.hire(host.environment)
            until_seen(host.base, provider)
        with hosts.running(workers=2) as host:
            answers_under_load(host.base, provider)


if __name__ == "__main__":
    main()
