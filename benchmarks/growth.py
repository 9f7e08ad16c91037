"""What must stay flat while the tables grow: health, slides, the sweep, and four pages.

The same is asked of companies with 10,000, 100,000 and 1,000,000 messages, on SQLite, in turns, so
that whatever else runs slows all of them. Every page on both databases: benchmarks.size.

    python -m benchmarks.growth [--rounds 40] [--messages 1000000]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient

from benchmarks import addresses, company, figures, pages
from viewer.extensions import db
from viewer.intake import sweep

# Of the table.
KEYS = {
    "/healthz": "growth.healthz",
    "/status": "growth.status",
    "/photos/slides": "growth.slides",
    "the sweep": "growth.sweep",
}
OTHERS = "/metrics", "/photos/slides?at=end", "/", "/photos", "/search?q=crack"


def run_sweep(app: Flask) -> None:
    with app.app_context():
        sweep.sweep()


def works(app: Flask, browser: FlaskClient) -> dict[str, Callable[[], object]]:
    with app.app_context():
        [conversation, *_] = addresses.conversations(250)
        db.session.remove()
    asked = {one: one for one in (*KEYS, *OTHERS) if one.startswith("/")}
    asked["a conversation"] = conversation
    return {
        **{name: partial(browser.get, one, headers=pages.BROWSER) for name, one in asked.items()},
        "the sweep": partial(run_sweep, app),
    }


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    sizes = [asked.messages // 100, asked.messages // 10, asked.messages]
    with tempfile.TemporaryDirectory() as folder:
        apps = [company.opened(Path(folder), messages) for messages in sizes]
        todo = [works(app, company.log_in(app, "owner")) for app in apps]
        report.say(" " * 22 + "".join(f"{one:>13,}" for one in sizes) + "   ratio   messages")
        ratios = {}
        for name in todo[0]:
            costs = compare([one[name] for one in todo], asked.rounds)
            ratios[name] = costs[-1] / costs[0]
            if name in KEYS:
                report.add(KEYS[name], costs[-1], "ms", f"{costs[0]:.1f} ms at a hundredth")
            told = "".join(f"{cost:10.1f} ms" for cost in costs)
            report.say(f"{name:22}{told}   {ratios[name]:5.2f}")
        worst = max(ratios, key=lambda name: ratios[name])
        report.add("growth.worst", ratios[worst], detail=worst)
        for app in apps:
            company.dispose(app)


def compare(todo: list[Callable[[], object]], rounds: int) -> list[float]:
    """Milliseconds of process CPU of each, in turns."""
    spent: list[list[float]] = [[] for _ in todo]
    for turn in range(rounds + pages.WARM_UP):
        for times, work in zip(spent, todo, strict=True):
            begun = time.process_time()
            work()
            if turn >= pages.WARM_UP:
                times.append((time.process_time() - begun) * 1000)
    return [statistics.median(times) for times in spent]


if __name__ == "__main__":
    figures.run(__doc__, measure, rounds=(40, 2), messages=(1_000_000, 20_000))
