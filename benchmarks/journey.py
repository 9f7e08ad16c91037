"""How quickly a webhook is answered, and a photo seen: the README's figures come from here.

Starts `viewer up` as a newcomer would, on a folder of its own, with the stand-in provider on
loopback, and measures through HTTP. Run it with `make bench`.
"""

import base64
import functools
import io
import multiprocessing
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from PIL import Image

from tests.payloads import Message, signed
from tests.support import staff
from viewer.demo.provider import Provider

SECRET = "whsec_" + base64.b64encode(b"bench-only-key-bench-only").decode()
PORT = 8093
BASE = f"http://127.0.0.1:{PORT}"


@contextmanager
def running_viewer(workers: int) -> Iterator[None]:
    folder = tempfile.mkdtemp(prefix="bench")
    environment = os.environ | {
        "DATA_DIR": folder,
        "QUO_WEBHOOK_SECRETS": SECRET,
        "QUO_NUMBERS": "+16175550100",
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": "1",
        "WORKERS": str(workers),
        "LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "viewer", "up", "--port", str(PORT)],
        env=environment,
        stdout=subprocess.DEVNULL,  # Valkey's: ours is what was measured
    )
    try:
        wait(lambda: healthy(), 60)
        staff.hire(environment)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder)


def healthy() -> bool:
    try:
        return requests.get(f"{BASE}/healthz", timeout=1).ok
    except requests.RequestException:
        return False


def wait(ready: Any, seconds: float, every: float = 0.005) -> float:
    """Seconds until `ready()` is true."""
    begun = time.monotonic()
    while not ready():
        if time.monotonic() - begun > seconds:
            raise TimeoutError
        time.sleep(every)
    return time.monotonic() - begun


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


def deliver(session: requests.Session, message: Message) -> float:
    """Milliseconds until the answer."""
    body, headers = signed(message.payload(), "standard", SECRET)
    begun = time.perf_counter()
    answer = session.post(f"{BASE}/webhooks/quo", data=body, headers=headers, timeout=30)
    took = (time.perf_counter() - begun) * 1000
    assert answer.status_code == 204, answer.status_code
    return took


def answers_under_load(provider: Provider) -> None:
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
        answers = pool.apply(deliver_all, (messages,))
    times = sorted(took for took, _ in answers)
    early = sum(
        asked.get(number, float("inf")) > answered for number, (_, answered) in enumerate(answers)
    )
    print(
        f"webhook answered, workers downloading: median {statistics.median(times):.1f} ms, "
        f"p95 {times[int(len(times) * 0.95)]:.1f} ms, worst {times[-1]:.1f} ms; "
        f"{early} of {len(times)} before the media host was asked"
    )


def deliver_all(messages: list[Message]) -> list[tuple[float, float]]:
    """For each: milliseconds until the answer, and when it came."""
    session, answers = requests.Session(), []
    for message in messages:
        answers.append((deliver(session, message), time.time()))
        time.sleep(0.02)
    return answers


def until_seen(provider: Provider) -> None:
    """From the answer to the thumbnail on the page, one worker, nothing else to do."""
    took = []
    session = staff.enter(BASE)
    for number in range(1000, 1012):
        url = provider.serve(photo(2, seed=number), content_type="image/jpeg")
        text = f"bench {number}"
        sender = f"+1617555{number % 100:04d}"
        deliver(session, Message(number=number, text=text, media=[url], sender=sender,
                                 conversation=f"CNbench{number}"))  # fmt: skip
        answered = time.monotonic()
        wait(lambda text=text: thumbnail_of(session, text), 30, every=0.02)
        took.append(time.monotonic() - answered)
    print(
        f"from the answer to the thumbnail of a 2 MB photo, one worker: median "
        f"{statistics.median(took):.2f} s, worst {max(took):.2f} s"
    )


def thumbnail_of(session: requests.Session, text: str) -> bool:
    inbox = session.get(BASE, timeout=10).text
    before = inbox.split(text)[0] if text in inbox else ""
    links = re.findall(r"/conversations/[0-9a-f-]{36}", before)
    if not links:
        return False
    page = session.get(BASE + links[-1], timeout=10).text
    thumbnail = re.search(r"/media/[0-9a-f-]{36}/thumbnail", page)
    return bool(thumbnail) and session.get(BASE + thumbnail[0], timeout=10).status_code == 200


def main() -> None:
    with Provider() as provider:
        with running_viewer(workers=1):
            until_seen(provider)
        with running_viewer(workers=2):
            answers_under_load(provider)


if __name__ == "__main__":
    main()
