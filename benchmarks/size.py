"""Does a page stay quick while the tables grow a hundredfold? On both databases; it takes long.

Two companies of the same three years: one with 10,000 messages and 1,000 files, one with 1,000,000
and 100,000. The same pages are asked of both in turn, and health, files, a ZIP and the sweep, so
whatever else the machine does slows both; what counts is the ratio of the medians.

    python -m benchmarks.size [--database sqlite|postgresql] [--messages 1000000] [--rounds 40]
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from benchmarks import addresses, company, figures, growth
from tests.support import servers

LIMIT = 1.5
WARM_UP = 3  # rounds
GOOD = (200, 503)  # the last is health, where nothing runs

Work = list[Callable[[], TestResponse | None]]  # they take turns


def works(app: Flask, messages: int) -> dict[str, Work]:
    browsers = {role: company.log_in(app, role) for role in ("owner", "office")}
    found: dict[str, Work] = {}
    for page in addresses.all_pages(app, browsers["owner"], messages):
        browser = browsers[page.who]
        if page.form:
            form = page.form | {"csrf_token": [_token(browser)]}
            found[page.name] = [partial(browser.post, one, data=form) for one in page.addresses]
        else:
            found[page.name] = [partial(browser.get, one) for one in page.addresses]
    return found | {"the sweep": [partial(growth.run_sweep, app)]}


def _token(browser: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/photos").text)
    assert found
    return found[1]


def compare(
    report: figures.Report, small: dict[str, Work], large: dict[str, Work], rounds: int, only: str
) -> None:
    """Ask both in turn. “Page” is kB: alike in both, or one has more to show, not to look for."""
    report.say(f"{'':40} {'small':>9} {'large':>9} {'ratio':>6} {'page':>13}")
    worst = 0.0
    for name in small:
        if only not in name:
            continue
        took: list[list[float]] = [[], []]
        weights = [0, 0]
        for turn in range(rounds + WARM_UP):
            for which in (0, 1) if turn % 2 else (1, 0):
                todo = (small, large)[which][name]
                begun = time.perf_counter()
                answer = todo[turn % len(todo)]()
                length = len(answer.data) if answer else 0
                spent = time.perf_counter() - begun
                if answer:
                    assert answer.status_code in GOOD, (name, answer.status, answer.text[:300])
                    answer.close()
                weights[which] = length
                if turn >= WARM_UP:
                    took[which].append(spent * 1000)
        before, after = map(statistics.median, took)
        worst = max(worst, after / before)
        mark = "" if after <= LIMIT * before else "  <- too slow"
        kilobytes = f"{weights[0] // 1000:3}, {weights[1] // 1000:3} kB"
        report.say(
            f"{name:40} {before:6.1f} ms {after:6.1f} ms {after / before:6.2f} "
            f"{kilobytes:>13}{mark}"
        )
    report.say(f"worst ratio {worst:.2f}, at most {LIMIT} is promised")


def measure(report: figures.Report, asked: argparse.Namespace) -> None:
    sizes = (asked.messages // 100, asked.messages)
    for kind in [asked.database] if asked.database else ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(servers.running_postgres()) if kind != "sqlite" else None
            apps = []
            for messages in sizes:
                folder = root / str(messages)
                folder.mkdir()
                url = server.url(server.create()) if server else f"sqlite:///{folder}/viewer.db"
                apps.append(company.make(folder, url, messages))
                stack.callback(company.dispose, apps[-1])
            report.say(f"{kind}, {sizes[0]:,} and {sizes[1]:,} messages")
            small, large = map(works, apps, sizes)
            compare(report, small, large, asked.rounds, asked.only)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    parser.add_argument("--only", default="", help="pages whose name contains this")
    figures.run(__doc__, measure, parser=parser, rounds=(40, 1), messages=(1_000_000, 5_000))
