"""What a page costs: process CPU and SQL statements, beside an empty page and a page of its size.

The pages of a company with 10,000 messages are asked of the application in this process, by a user
who is logged in, as a browser asks (compressed answers). The peers, in the same run: a page of the
same application that shows nothing, and an answer of the same bytes from Flask alone.

    python -m benchmarks.pages [--rounds 60] [--messages 10000]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from benchmarks import addresses as places
from benchmarks import company, figures
from viewer.extensions import db
from viewer.models import MediaLink

BROWSER = {"Accept-Encoding": "gzip, deflate, br"}
WARM_UP = 5
# Of the table.
KEYS = {
    "inbox": "pages.inbox",
    "conversation, 50 messages": "pages.conversation",
    "gallery, 48 tiles": "pages.gallery",
    "search, 30 hits": "pages.search",
}


def pages(app: Flask) -> dict[str, list[str]]:
    """What is asked for: addresses that take turns."""
    with app.app_context():
        record = db.session.scalar(sa.select(MediaLink.record_id).order_by(MediaLink.id).limit(1))
        found = {
            "inbox": ["/"],
            "conversation, 50 messages": places.conversations(250),
            "gallery, 48 tiles": ["/photos"],
            "search, 30 hits": ["/search?q=crack", "/search?q=basement"],
            "work record": [f"/work/{record}"],
        }
        db.session.remove()
    return found


def time_page(browser: FlaskClient, addresses: list[str], rounds: int) -> tuple[list[float], int]:
    """Milliseconds of process CPU for each answer, after warm-up; and the bytes of the last."""
    for address in addresses * WARM_UP:
        browser.get(address, headers=BROWSER)
    spent = []
    for turn in range(rounds):
        begun = time.process_time()
        answer = browser.get(addresses[turn % len(addresses)], headers=BROWSER)
        spent.append((time.process_time() - begun) * 1000)
        assert answer.status_code in (200, 503), answer.status  # 503: health, where nothing runs
    return spent, len(answer.data)


def count_statements(app: Flask, browser: FlaskClient, address: str) -> int:
    """How many a page asks, without BEGIN."""
    said: list[str] = []

    def note(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        said.append(text)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    browser.get(address)
    sa.event.remove(engine, "before_cursor_execute", note)
    return sum(not text.startswith("BEGIN") for text in said)


def bare(length: int) -> FlaskClient:
    """An answer of so many bytes from Flask alone."""
    app, body = Flask("bare"), "x" * length
    app.add_url_rule("/", view_func=lambda: body)
    return app.test_client()


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        app = company.opened(Path(folder), asked.messages)
        browser = company.log_in(app, "owner")
        report.say(f"{'':28} {'CPU':>8} {'first':>8} {'SQL':>4} {'bytes':>7} {'same size':>10}")
        most, empty = 0, 0.0
        for name, addresses in {"empty page": ["/offline"], **pages(app)}.items():
            begun = time.process_time()
            browser.get(addresses[0], headers=BROWSER)
            first = (time.process_time() - begun) * 1000
            spent, length = time_page(browser, addresses, asked.rounds)
            peer = statistics.median(time_page(bare(length), ["/"], asked.rounds)[0])
            statements = max(count_statements(app, browser, one) for one in addresses)
            cost = statistics.median(spent)
            empty = empty or cost
            if name in KEYS:
                most = max(most, statements)
                detail = f"an empty page {empty:.1f} ms; {statements} SQL"
                report.add(KEYS[name], cost, "ms", detail)
            report.say(
                f"{name:28} {cost:5.1f} ms {first:5.1f} ms {statements:4} "
                f"{length:7,} {peer:7.2f} ms"
            )
        report.add("pages.statements", most, "")
        report.say("“first”: the first time in this process")
        company.dispose(app)


if __name__ == "__main__":
    figures.run(__doc__, measure, rounds=(60, 4), messages=(10_000, 2_000))
