"""A whole `viewer up` under attack, and without a memory for its queue."""

import hashlib
import struct
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
import redis
import requests

from tests.payloads import Message, signed
from tests.support import hostile_server
from tests.support.pictures import picture
from tests.support.servers import wait_until
from tests.support.webhooks import SECRET
from viewer.jobs import drain

pytestmark = pytest.mark.proof

MOST_MEMORY = 400_000  # kB, of each process


def post(up, message: Message) -> int:
    body, headers = signed(message.payload(), "standard", SECRET)
    return requests.post(
        f"{up.url}/webhooks/quo", data=body, headers=headers, timeout=60
    ).status_code


def pixel_bomb(side: int = 20_000) -> bytes:
    """A PNG of 400 megapixels in some 400 kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    packer = zlib.compressobj(9)
    line = bytes(side + 1)
    rows = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def gzip_bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()


def stored_hashes(up) -> Counter[str]:
    return Counter(
        row[0] for row in up.rows("SELECT sha256 FROM media_attachments WHERE state = 'stored'")
    )


def peaks(up) -> dict[int, int]:
    """The most memory each process of the family ever had resident, in kB."""
    found = {}
    for pid in up.family():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "VmHWM" in status:
            found[pid] = int(status.split("VmHWM:")[1].split()[0])
    return found


def test_one_worker_under_attack_still_stores_every_ordinary_photo(up):
    """Rows 41, 42, 43, 116 at once, with one collecting worker."""
    viewer = up(TRANSFER_SECONDS="3", MEDIA_MAX_MB="20")
    photos = [picture(300, 200 + number) for number in range(50)]
    bomb = pixel_bomb()
    highest: dict[int, int] = {}
    with hostile_server.HostileServer() as host:
        attacks = [
            host.serve(hostile_server.endless()),
            host.serve(hostile_server.dripping(picture(), every=1.0)),
            host.serve(hostile_server.answer(bomb)),
            host.serve(hostile_server.answer(gzip_bomb(), headers=(("Content-Encoding", "gzip"),))),
        ]
        for number, url in enumerate(attacks):
            post(viewer, Message(number=number, media=[url]))
        for number, photo in enumerate(photos, start=100):
            post(viewer, Message(number=number, media=[host.serve(hostile_server.answer(photo))]))

        def done() -> bool:
            for pid, peak in peaks(viewer).items():
                highest[pid] = max(highest.get(pid, 0), peak)
            return len(stored_hashes(viewer)) >= 51

        wait_until(done, 90)
        wait_until(lambda: bomb_is_looked_at(viewer, bomb))
        done()

    expected = Counter(hashlib.sha256(photo).hexdigest() for photo in [*photos, bomb])
    assert stored_hashes(viewer) == expected
    assert max(highest.values()) < MOST_MEMORY
    # No more than one worker has in hand: attacks that are being tried again just now.
    parts = list((viewer.data_dir / "media" / ".incoming").glob("*.part"))
    assert len(parts) <= drain.DOWNLOADS


def bomb_is_looked_at(viewer, bomb: bytes) -> bool:
    found = dict(viewer.rows("SELECT sha256, copy_state FROM media_attachments"))
    return found[hashlib.sha256(bomb).hexdigest()] == "impossible"


def test_a_queue_that_is_emptied_every_second_loses_no_photo_and_doubles_none(up):
    """Row 74: FLUSHALL every second for 30 s during 200 downloads."""
    viewer = up()
    photos = [picture(200, 100 + number) for number in range(200)]
    queue = redis.from_url(f"unix://{viewer.data_dir / 'valkey.sock'}")
    over = threading.Event()
    flushes = []

    def flush() -> None:
        while not over.wait(1.0):
            queue.flushall()
            flushes.append(time.monotonic())

    with hostile_server.HostileServer() as host:
        urls = [host.serve(hostile_server.answer(photo)) for photo in photos]
        flushing = threading.Thread(target=flush)
        flushing.start()
        begun = time.monotonic()
        for number, url in enumerate(urls):
            post(viewer, Message(number=number, media=[url]))
            time.sleep(max(0.0, begun + number * 0.14 - time.monotonic()))
        time.sleep(max(0.0, begun + 30 - time.monotonic()))
        over.set()
        flushing.join()
        wait_until(lambda: sum(stored_hashes(viewer).values()) >= len(photos), 120)
        asked = [host.asked_for(url) for url in urls]

    assert len(flushes) >= 25
    assert stored_hashes(viewer) == Counter(hashlib.sha256(p).hexdigest() for p in photos)
    assert viewer.rows("SELECT count(*) FROM messages") == [(200,)]
    assert max(asked) == 1
