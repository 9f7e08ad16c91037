"""Growth as a plot, as a table of the same figures, and a forecast in words.

The plot is drawn on the server, without a script. Its text stands beside it in HTML, so that it is
as large as all other text however wide the plot is; what it shows is in the table, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from viewer.upkeep.health import LEAST_KNOWN, Forecast, Growth, Outlook, Verdict
from viewer.web.formatting import short_day, size, span

WIDTH, HEIGHT = 600, 200  # units of the drawing, which is stretched to the room there is
NEAR = 1.6  # a limit is drawn if it is at most so many times as high as what is shown
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)  # where an axis may end

TITLES = {"s3": "100 GB of originals", "disk": "Full disk for the photos"}
LIMITS = {"s3": "100 GB", "disk": "full disk"}


# --- In words ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A forecast in words."""

    title: str
    when: str
    note: str
    is_soon: bool


def in_words(name: str, forecast: Forecast) -> Said:
    """`name`: s3 or disk."""
    growth = forecast.growth
    left = f"{size(max(0, forecast.left))} to go."
    weeks = f"the last {len(growth.weeks)} weeks"
    halves = f"at the pace of the busier or the quieter half of {weeks}"
    match forecast.verdict:
        case Verdict.REACHED:
            when, note = "reached", f"{size(growth.total)} in folders."
        case Verdict.TOO_YOUNG:
            when = "too young to tell"
            note = f"{left} A forecast needs {LEAST_KNOWN} days; there are {growth.known}."
        case Verdict.NO_GROWTH:
            when, note = "not in sight", f"{left} Nothing came in {weeks}."
        case Verdict.FAR:
            when, note = "not within ten years", f"{left} At the pace of {weeks}."
        case _:
            when = _when(forecast.likely)
            note = f"{left} {_between(forecast)}, {halves}."
    is_soon = forecast.verdict is Verdict.REACHED or (
        forecast.likely is not None and forecast.likely < LEAST_KNOWN
    )
    return Said(TITLES[name], when, note, is_soon)


def _when(days: int | None) -> str:
    if days is None:
        return "not within ten years"
    return f"in about {span(days)}" if days else "within a day"


def _between(forecast: Forecast) -> str:
    """5 to 9 months; 5 weeks to 3 months; 5 months at the earliest."""
    soonest = span(max(1, forecast.soonest or 0))
    if forecast.latest is None:
        return f"{soonest} at the earliest"
    latest = span(max(1, forecast.latest))
    if soonest == latest:
        return f"About {latest}"
    number, unit = soonest.split()
    is_alike = unit.rstrip("s") == latest.split()[1].rstrip("s")
    return f"{number if is_alike else soonest} to {latest}"


# --- As a table ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """The end of a week, and what there was then; or what there may be."""

    day: str
    came: str
    total: str


def _rows(growth: Growth, days: Sequence[datetime]) -> list[Row]:
    came = ["", *map(_size, growth.weeks)]
    return [
        Row(short_day(day), new, _size(total))
        for day, new, total in zip(days, came, growth.totals, strict=True)
    ]


# --- As a plot -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plot:
    """The lines of a drawing as points, and the words that stand around it."""

    line: str
    area: str
    ahead: str  # the usual pace; empty where nothing is foretold
    fan: str  # from the quiet to the busy pace
    limits: list[tuple[str, float]]  # what it is, and its height
    grid: list[float]  # heights
    scale: list[str]  # from the top down
    dates: list[str]  # from left to right
    description: str
    rows: list[Row]
    future: Row | None


def draw(outlook: Outlook) -> Plot | None:
    """None while there are no two weeks to draw a line between."""
    growth, pace = outlook.growth, outlook.growth.pace
    weeks = len(growth.weeks)
    if pace is None or not growth.total:
        return None
    past = growth.totals
    is_foretold = bool(outlook.forecasts) and pace.usual > 0
    ends = [
        growth.total + 7 * weeks * one if is_foretold else growth.total
        for one in (pace.quiet, pace.usual, pace.busy)
    ]
    limits = _limits(outlook, max(*past, *ends))
    top = _round_up(max(*past, *ends, *limits.values()))
    middle = WIDTH / 2 if is_foretold else WIDTH

    def at(x: float, value: float) -> str:
        return f"{x:.1f},{HEIGHT * (1 - value / top):.1f}"

    line = [at(middle * number / weeks, value) for number, value in enumerate(past)]
    here, quiet, usual, busy = line[-1], *(at(WIDTH, end) for end in ends)
    days = [growth.as_of - timedelta(weeks=weeks - number) for number in range(weeks + 1)]
    last = growth.as_of + timedelta(weeks=weeks)
    future = None
    if is_foretold:
        future = Row(short_day(last), "", f"{_size(int(ends[0]))} to {_size(int(ends[2]))}")
    return Plot(
        line=" ".join(line),
        area=" ".join((f"0,{HEIGHT}", *line, f"{middle:.1f},{HEIGHT}")),
        ahead=f"{here} {usual}" if is_foretold else "",
        fan=f"{here} {quiet} {busy}" if is_foretold else "",
        limits=[(name, HEIGHT * (1 - value / top)) for name, value in limits.items()],
        grid=[HEIGHT * part / 2 for part in (0, 1, 2)],
        scale=[_size(top), _size(top // 2), "0"],
        dates=[short_day(days[0]), "today", *([short_day(last)] if is_foretold else [])],
        description=_describe(days[0], past, future),
        rows=_rows(growth, days),
        future=future,
    )


def _limits(outlook: Outlook, highest: float) -> dict[str, int]:
    """What is reached at how many bytes, if that is not far above what is shown."""
    growth = outlook.growth
    return {
        LIMITS[name]: growth.total + one.left
        for name, one in outlook.forecasts.items()
        if one.growth == growth and growth.total + one.left <= NEAR * highest
    }


def _describe(first: datetime, past: Sequence[int], future: Row | None) -> str:
    words = f"From {_size(past[0])} on {short_day(first)} to {_size(past[-1])} today."
    return f"{words} At this pace {future.total} on {future.day}." if future else words


def _round_up(value: float) -> int:
    """The next number that an axis may end with."""
    unit = 10 ** math.floor(math.log10(value))
    return int(next(step * unit for step in STEPS if value <= step * unit))


def _size(octets: int) -> str:
    return size(octets) if octets else "0"
