"""The plots of docs/performance.md: SVG of a fixed size, alike each time but for its figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks import table
from benchmarks.figures import Curve
from benchmarks.page import Measured

OURS, EARLIER, PEER, INK, FAINT = "#0b5cad", "#c2571a", "#6b7280", "#1f2937", "#d1d5db"
STYLE: Any = {
    "svg.hashsalt": "performance",  # else each id is made by chance
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.grid": True,
    "grid.color": "#eef0f3",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

LABELS = {
    "door.sqlite.rate": "webhook alone, SQLite: rate",
    "door.sqlite.cpu": "webhook alone, SQLite: CPU",
    "door.postgresql.rate": "webhook alone, PostgreSQL: rate",
    "door.postgresql.cpu": "webhook alone, PostgreSQL: CPU",
    "door.backlog.p99": "webhook beside a backlog: p99",
    "door.backlog.rate": "webhook beside a backlog: rate",
    "door.plain.rate": "against the plain design: rate",
    "door.plain.p99": "against the plain design: p99",
    "burst.stored": "burst: stored",
    "burst.thumbnails": "burst: thumbnails",
    "copies.jpeg": "copies: 12 MP JPEG",
    "copies.heic": "copies: 12 MP HEIC",
    "copies.mms": "copies: MMS",
    "copies.png": "copies: PNG",
    "ingest.workers": "ingest: two workers",
    "ingest.lock.median": "write lock: median",
    "ingest.lock.p99": "write lock: p99",
    "catch_up.pace": "catch-up: pace",
    "pages.conversation": "conversation: CPU",
    "pages.inbox": "inbox: CPU",
    "pages.gallery": "gallery: CPU",
    "pages.search": "search: CPU",
    "pages.statements": "pages: SQL",
    "files.thumbnails.alone": "thumbnails, alone",
    "files.thumbnails.nginx": "thumbnails, behind nginx",
    "files.large.alone": "5 MB, alone",
    "files.large.nginx": "5 MB, behind nginx",
    "growth.healthz": "/healthz: CPU",
    "growth.status": "/status: CPU",
    "growth.slides": "slides: CPU",
    "growth.sweep": "the sweep: CPU",
    "growth.worst": "growth: the worst",
    "idle.memory": "memory at rest",
    "idle.start": "start",
}


def draw(measured: Measured, folder: Path) -> None:
    reports = measured.reports.values()
    curves = {name: curve for one in reports for name, curve in one.curves.items()}
    with mpl.rc_context(STYLE):
        with _canvas(folder / "goals.svg", 7.4) as axes:
            _draw_goals(axes, measured)
        with _canvas(folder / "webhook.svg", 4.2) as axes:
            _draw_webhook(axes, curves)
        with _canvas(folder / "burst.svg", 4.2) as axes:
            _draw_burst(axes, curves)


@contextmanager
def _canvas(file: Path, height: float) -> Iterator[Axes]:
    canvas = Canvas(figsize=(9, height), layout="constrained", facecolor="white")
    yield canvas.subplots()
    canvas.savefig(file, metadata={"Date": None})
    # Lines end without spaces, as in all our files.
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")


def _draw_goals(axes: Axes, measured: Measured) -> None:
    reached = {one.key: one for report in measured.reports.values() for one in report.figures}
    before = {one.key: one for report in measured.reports.values() for one in report.before}
    rows = [row for row in reversed(table.ROWS) if row.goal and row.key in reached]
    for place, row in enumerate(rows):
        goal, earlier = row.goal, before.get(row.key)
        wanted = goal.wanted(earlier) if goal else None
        if goal is None or wanted is None:
            continue
        part = _part(reached[row.key].value, wanted, goal.is_least)
        color = OURS if part >= 1 else EARLIER
        axes.plot([1, part], [place, place], color=color, linewidth=5, solid_capstyle="butt")
        if earlier:
            axes.plot(_part(earlier.value, wanted, goal.is_least), place, "D", color=PEER, ms=5)
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} times")
    axes.set_yticks(range(len(rows)), [LABELS[row.key] for row in rows], fontsize=9)
    axes.margins(y=0.015)
    axes.set_xlabel("of the goal (a goal “at most” is turned over); ◆ before")


def _part(value: float, wanted: float, is_least: bool) -> float:
    return value / wanted if is_least else wanted / value


def _draw_webhook(axes: Axes, curves: dict[str, Curve]) -> None:
    for name, words, color, line in (
        ("bare", "bare door", PEER, "-"),
        ("alone", "ours, alone", OURS, "-"),
        ("backlog", "ours, beside a backlog of 2,000 events", OURS, "--"),
        ("backlog before", "before, beside the same backlog", EARLIER, "--"),
        ("photos", "ours, three photos in each", OURS, ":"),
        ("plain", "plain design, three photos in each", PEER, ":"),
    ):
        if curve := curves.get(f"door.{name}"):
            axes.plot(
                [max(took, 0.1) for took, _ in curve], [share * 100 for _, share in curve],
                color=color, linestyle=line, linewidth=1.8, label=words,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    axes.set_ylim(0, 100)
    axes.set_xlabel("until the answer, 8 clients")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def _draw_burst(axes: Axes, curves: dict[str, Curve]) -> None:
    for name, words, color, line in (
        ("curl", "curl, two at a time", PEER, "-"),
        ("stored", "stored", OURS, "-"),
        ("thumbnails", "with thumbnails", OURS, "--"),
    ):
        if curve := curves.get(f"burst.{name}"):
            axes.plot(
                [took for took, _ in curve], [count for _, count in curve],
                color=color, linestyle=line, linewidth=1.8, label=words,
            )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds after the first webhook")
    axes.set_ylabel("photos")
    axes.legend(loc="lower right")
