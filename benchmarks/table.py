"""The rows of the table in docs/performance.md: what is asked, and how it is rendered.

`today` is the figure that the issue “Measured speed” was filed with, and `goal` what it asks for.
Neither is measured: they are typed in once, here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.figures import Figure

HEAD = "| work | today | before | reached | goal | met |\n|---|---|---|---|---|---|"
NONE = "–"


@dataclass(frozen=True, slots=True)
class Goal:
    limit: float
    is_least: bool
    of_before: bool = False  # so many times what was reached before

    def wanted(self, before: Figure | None) -> float | None:
        """The value to reach, if it is known."""
        if not self.of_before:
            return self.limit
        return self.limit * before.value if before else None

    def is_met(self, reached: Figure, before: Figure | None) -> bool | None:
        wanted = self.wanted(before)
        if wanted is None:
            return None
        return reached.value >= wanted if self.is_least else reached.value <= wanted

    def said(self, unit: str) -> str:
        words = "at least " if self.is_least else "at most "
        return words + (
            f"{number(self.limit)} times before" if self.of_before else quantity(self.limit, unit)
        )


def at_least(limit: float, *, of_before: bool = False) -> Goal:
    return Goal(limit, is_least=True, of_before=of_before)


def at_most(limit: float) -> Goal:
    return Goal(limit, is_least=False)


@dataclass(frozen=True, slots=True)
class Row:
    benchmark: str
    key: str
    work: str
    today: str = NONE
    goal: Goal | None = None


BARE = "of the bare door"
LIBVIPS = "CPU of a photo's copies, of two libvips calls"
GROWTH = "from 10,000 to 1,000,000 messages"
ROWS = (
    Row("door", "door.sqlite.rate", f"webhook alone, 8 clients, SQLite: rate, {BARE}'s", NONE,
        at_least(0.4)),
    Row("door", "door.sqlite.cpu", f"the same: CPU, {BARE}'s", "4.4–6.9", at_most(2.5)),
    Row("door", "door.postgresql.rate", f"the same on PostgreSQL: rate, {BARE}'s", NONE,
        at_least(0.4)),
    Row("door", "door.postgresql.cpu", f"the same on PostgreSQL: CPU, {BARE}'s", NONE,
        at_most(2.5)),
    Row("door", "door.backlog.p99",
        "webhook beside a backlog of 2,000 events: p99, of the idle p99",
        "80–150 (0.8–1.5 s of 10 ms)", at_most(2)),
    Row("door", "door.backlog.rate", "the same: rate, of the idle rate", NONE, at_least(0.5)),
    Row("door", "door.plain.rate",
        "against the plain design, 3 photos from a host 50 ms away: rate, of its", "1.7",
        at_least(10)),
    Row("door", "door.plain.p99", "the same: p99, of the plain design's p50", "p99 1,033 ms",
        at_most(1)),
    Row("burst", "burst.stored",
        "burst of 1,000 × 300 kB, host 30 ms away, 2 workers: stored, of `curl` and fsync", "16.6",
        at_most(2.5)),
    Row("burst", "burst.thumbnails", "the same: thumbnails, of `curl` and fsync", "39.6",
        at_most(5)),
    Row("burst", "burst.cpu", "the same: CPU of a photo, until it has its copies"),
    Row("copies", "copies.jpeg", f"12 MP JPEG: {LIBVIPS}", "about 1", at_most(1)),
    Row("copies", "copies.heic", f"12 MP HEIC: {LIBVIPS}", "about 1", at_most(1)),
    Row("copies", "copies.mms", f"MMS, 2 MP: {LIBVIPS}", "about 1", at_most(1)),
    Row("copies", "copies.png", f"PNG: {LIBVIPS}", "about 1", at_most(1)),
    Row("ingest", "ingest.workers",
        "ingest of a backlog on PostgreSQL: two workers, of one's rate", "1.20", at_least(1.6)),
    Row("ingest", "ingest.lock.median", "SQLite's write lock held in ingest: median", "17 ms",
        at_most(5)),
    Row("ingest", "ingest.lock.p99", "the same: p99", NONE, at_most(10)),
    Row("ingest", "ingest.cpu", "CPU of an event, of a bare copy of its rows (SQLite)"),
    Row("catch_up", "catch_up.pace", "catch-up: requests a second, of our pace of 5", "0.5",
        at_least(0.9)),
    Row("pages", "pages.conversation", "conversation, 50 messages: CPU", "24 ms", at_most(12)),
    Row("pages", "pages.inbox", "inbox: CPU", "13 ms", at_most(7)),
    Row("pages", "pages.gallery", "gallery, 48 tiles: CPU", "22 ms", at_most(11)),
    Row("pages", "pages.search", "search, 30 hits: CPU", "22 ms", at_most(12)),
    Row("pages", "pages.statements", "the most SQL of these four pages", "13", at_most(8)),
    Row("files", "files.thumbnails.alone", "thumbnails over HTTP, viewer alone", "410/s",
        at_least(2.5, of_before=True)),
    Row("files", "files.thumbnails.nginx", "thumbnails behind nginx", "410/s", at_least(1000)),
    Row("files", "files.large.alone", "an original of 5 MB, viewer alone: rate, of nginx alone",
        NONE, at_least(0.9)),
    Row("files", "files.large.nginx", "the same, viewer behind nginx: rate, of nginx alone", NONE,
        at_least(0.9)),
    Row("zips", "zips.rate", "ZIP of originals: rate, of `zip -0`", "2.0"),
    Row("growth", "growth.healthz", "`/healthz` at 100,000 files: CPU", "170 ms", at_most(5)),
    Row("growth", "growth.status", "`/status` at 100,000 files: CPU", "225 ms", at_most(5)),
    Row("growth", "growth.slides", "`/photos/slides` at 100,000 files: CPU", "185 ms", at_most(5)),
    Row("growth", "growth.sweep", "the sweep at 100,000 files: CPU", "126 ms", at_most(5)),
    Row("growth", "growth.worst", f"the worst of these and of four pages, {GROWTH}",
        "9–46 (1,000 to 100,000 files)", at_most(1.5)),
    Row("idle", "idle.memory", "`viewer up` at rest (PSS)", "681 MB", at_most(300)),
    Row("idle", "idle.start", "from its start to the first answer", "7–14 s", at_most(3)),
    Row("journey", "journey.webhook", "webhook while workers and people write: median", NONE),
    Row("journey", "journey.page", "a page meanwhile: median"),
    Row("journey", "journey.seen", "from the answer to a thumbnail of 2 MB, one worker: median"),
)  # fmt: skip


def render(figures: Iterable[Figure], before: Iterable[Figure]) -> str:
    """The table in Markdown. Raises KeyError if a row was not measured, or has no row."""
    reached, earlier = ({one.key: one for one in found} for found in (figures, before))
    if unknown := {*reached, *earlier} - {row.key for row in ROWS}:
        raise KeyError(f"no row for {', '.join(sorted(unknown))}")
    return "\n".join([HEAD, *(_line(row, reached[row.key], earlier.get(row.key)) for row in ROWS)])


def _line(row: Row, reached: Figure, before: Figure | None) -> str:
    met = row.goal.is_met(reached, before) if row.goal else None
    cells = (
        row.work,
        row.today,
        _said(before) if before else NONE,
        f"**{quantity(reached.value, reached.unit)}**{_more(reached)}",
        row.goal.said(reached.unit) if row.goal else NONE,
        {True: "yes", False: "**no**", None: NONE}[met],
    )
    return f"| {' | '.join(cells)} |"


def _said(figure: Figure) -> str:
    return quantity(figure.value, figure.unit) + _more(figure)


def _more(figure: Figure) -> str:
    return f" ({figure.detail})" if figure.detail else ""


def quantity(value: float, unit: str) -> str:
    if unit == "times":
        return number(value)
    return number(value) + (unit if unit.startswith("/") else f" {unit}".rstrip())


def number(value: float) -> str:
    """Three digits that count, so that a figure of noise does not look exact."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
