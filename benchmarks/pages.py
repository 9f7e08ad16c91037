"""What a page costs: process CPU and SQL statements, beside an empty page and a page of its size.

The pages of a company with 10,000 messages are asked of the application in this process, by a user
who is logged in, as a browser asks (compressed answers). The peers, in the same run: a page of the
same application that shows nothing, and an answer of the same bytes from Flask alone. With
`--growth` it is health, the lightbox and the galleries at 10,000, 100,000 and 1,000,000 messages.

    python -m benchmarks.pages [--growth] [--rounds 60] [--folder /tmp/pages]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from benchmarks import size
from viewer.extensions import db
from viewer.models import MediaLink
from viewer.upkeep.health import totals

SIZES = {"small": size.SIZES["small"], "middle": size.MIDDLE, "large": size.SIZES["large"]}
BROWSER = {"Accept-Encoding": "gzip, deflate, br"}
WARM_UP = 5
MOST_STATEMENTS = 8
GROWTH = 1.5  # times, from the smallest to the largest
UNBOUNDED = ("/status", "/healthz", "/metrics", "/photos/slides", "/photos/slides?at=end")


def pages(app: Flask) -> dict[str, list[str]]:
    """What is asked for: addresses that take turns."""
    with app.app_context():
        record = db.session.scalar(sa.select(MediaLink.record_id).order_by(MediaLink.id).limit(1))
        found = {
            "inbox": ["/"],
            "conversation, 50 messages": size._conversations(250),
            "gallery, 48 tiles": ["/photos"],
            "search, 30 hits": ["/search?q=crack", "/search?q=basement"],
            "work record": [f"/work/{record}"],
        }
        db.session.remove()
    return found


def opened(name: str, folder: Path) -> Flask:
    """The application on a company of this size, with all files counted as the schedule does."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    app = size.make(name, place, f"sqlite:///{place}/viewer.db", SIZES[name])
    with app.app_context():
        totals.count()
        db.session.commit()
        db.session.remove()
    return app


def measure(browser: FlaskClient, addresses: list[str], rounds: int) -> tuple[list[float], int]:
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


def show_pages(folder: Path, rounds: int) -> bool:
    app = opened("small", folder)
    browser = size.log_in(app, "owner")
    print(f"{'':28} {'CPU':>8} {'first':>8} {'SQL':>4} {'bytes':>7} {'same size':>10}")
    good = True
    for name, addresses in {"empty page": ["/offline"], **pages(app)}.items():
        begun = time.process_time()
        browser.get(addresses[0], headers=BROWSER)
        first = (time.process_time() - begun) * 1000
        spent, length = measure(browser, addresses, rounds)
        peer, _ = measure(bare(length), ["/"], rounds)
        statements = max(count_statements(app, browser, one) for one in addresses)
        good &= statements <= MOST_STATEMENTS
        print(
            f"{name:28} {statistics.median(spent):5.1f} ms {first:5.1f} ms {statements:4} "
            f"{length:7,} {statistics.median(peer):7.2f} ms"
        )
    print(f"“first”: the first time in this process; at most {MOST_STATEMENTS} SQL are promised")
    return good


def show_growth(folder: Path, rounds: int) -> bool:
    browsers = {name: size.log_in(opened(name, folder), "owner") for name in SIZES}
    print(f"{'':28} {'10,000':>9} {'100,000':>9} {'1,000,000':>10} {'ratio':>6}   messages")
    worst = 0.0
    for address in UNBOUNDED:
        spent: dict[str, list[float]] = {name: [] for name in browsers}
        for _ in range(4):  # in turns, so that whatever else runs slows all of them
            for name, browser in browsers.items():
                spent[name] += measure(browser, [address], rounds // 4)[0]
        small, middle, large = (statistics.median(spent[name]) for name in SIZES)
        worst = max(worst, large / small)
        print(f"{address:28} {small:6.1f} ms {middle:6.1f} ms {large:7.1f} ms {large / small:6.2f}")
    print(f"worst ratio {worst:.2f}, at most {GROWTH} is promised")
    return worst <= GROWTH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/pages"))  # noqa: S108
    chosen = parser.parse_args()
    show = show_growth if chosen.growth else show_pages
    good = show(chosen.folder, chosen.rounds)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
