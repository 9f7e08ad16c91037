"""What strangers can make the viewer compute: forged deliveries, texts of almost-numbers.

Stands apart from `make bench`: tests keep the bounds by counting work. This is its time.
"""

import argparse
import base64
import functools
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from flask import Flask

from benchmarks import figures
from viewer import quo
from viewer.search import query
from viewer.web import linkify

_SECRET = base64.b64encode(bytes(32)).decode()
_FORGED = base64.b64encode(b"\1" * 32).decode()
_BODIES = {
    "small objects": b'{"a": 1}, ',
    "quotes": b'"" ,',
    "numbers": b"1 ,",
    "nested": b"[ ",
    "text": b'"' + b"words of a text " * 40 + b'", ',
}


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    for mib in (1, asked.mib):
        for name, piece in _BODIES.items():
            body = b"[" + piece * int(mib * 1024 * 1024 / len(piece)) + b"0]"
            one_hash = _cpu(functools.partial(hmac.digest, bytes(32), body, "sha256"))
            fresh = _cpu(functools.partial(_forge, body, timedelta()))
            old = _cpu(functools.partial(_forge, body, timedelta(days=9)))
            report.say(
                f"forged delivery, {mib} MiB of {name}: {fresh:.1f} ms of CPU,"
                f" {old:.1f} ms with an old time stamp; one hash {one_hash:.1f} ms"
            )

    _texts(report)


def _texts(report: figures.Report) -> None:
    """Fifty texts of one page."""
    app = Flask(__name__)
    for name, piece in {"almost-numbers": "6 1 7/5 5.", "URLs": "http://(a.b) "}.items():
        texts = [f"{nth} {piece * 1_900}" for nth in range(50)]

        def look(texts: list[str] = texts) -> None:
            with app.test_request_context():
                for words in texts:
                    linkify.tappable(words)

        report.say(f"50 texts of 20 kB of {name}: {_cpu(look):.0f} ms of CPU to find their links")
    terms = query.read_terms("some crack 5550123 words of the text")
    long = "some words of the text and 617.555. " * 1_400
    report.say(f"a hit in 50,000 characters: {_cpu(lambda: query.snippet(long, terms)):.0f} ms")


def _forge(body: bytes, age: timedelta) -> None:
    now = datetime.now(UTC)
    signed_at = int((now - age).timestamp() * 1000)
    headers = {"openphone-signature": f"hmac;1;{signed_at};{_FORGED}"}
    try:
        quo.open_delivery(headers, body, [_SECRET], now)
    except quo.NotFromQuo:
        return
    raise AssertionError("a forged delivery was taken")


def _cpu(work: Callable[[], object]) -> float:
    """Milliseconds of CPU, the best of three."""
    found = []
    for _ in range(3):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found) * 1000


if __name__ == "__main__":
    figures.run(__doc__, measure, mib=(8, 2))
