"""The forecast in words, and a plot that says the same as its table."""

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from viewer.upkeep import health
from viewer.upkeep.health import Forecast, Growth, Outlook, Verdict
from viewer.upkeep.health.growth import foretell
from viewer.web import growth as pages

GB = 1_000_000_000
AS_OF = datetime(2026, 11, 27, 17, 0, tzinfo=UTC)
GROWING = Growth(46 * GB, tuple(GB * number for number in (1, 2, 3, 2, 1, 2, 3)), 49, AS_OF)


def outlook(growth: Growth, **left: int) -> Outlook:
    return Outlook(not left, growth, {name: foretell(growth, size) for name, size in left.items()})


@pytest.fixture(autouse=True)
def settled(app, time_machine_at):
    with time_machine_at(AS_OF):
        yield


# --- Words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "when", "between"),
    [
        ((150, 210, 280), "in about 7 months", "5 to 9 months"),
        ((210, 215, 220), "in about 7 months", "About 7 months"),
        ((30, 45, 120), "in about 6 weeks", "4 weeks to 4 months"),
        ((1, 4, 9), "in about 4 days", "1 to 9 days"),
        ((0, 1, 2), "in about 1 day", "1 to 2 days"),
        ((0, 0, 0), "within a day", "About 1 day"),
        ((150, 210, None), "in about 7 months", "5 months at the earliest"),
        ((3000, None, None), "not within ten years", "8 years at the earliest"),
    ],
)
def test_a_range_is_told_roughly(days, when, between):
    said = pages.in_words("s3", Forecast(Verdict.AHEAD, GROWING, 54 * GB, *days))

    assert said.when == when
    halves = "at the pace of the busier or the quieter half of the last 7 weeks"
    assert said.note == f"54 GB to go. {between}, {halves}."


@pytest.mark.parametrize(
    ("growing", "left", "when", "note", "is_soon"),
    [
        (GROWING, -9 * GB, "reached", "46 GB in folders.", True),
        (
            Growth(2 * GB, (GB,), 12, AS_OF),
            98 * GB,
            "too young to tell",
            "98 GB to go. A forecast needs 14 days; there are 12.",
            False,
        ),
        (
            Growth(2 * GB, (0,) * 13, 91, AS_OF),
            98 * GB,
            "not in sight",
            "98 GB to go. Nothing came in the last 13 weeks.",
            False,
        ),
        (
            Growth(GB, (1000,) * 13, 91, AS_OF),
            99 * GB,
            "not within ten years",
            "99 GB to go. At the pace of the last 13 weeks.",
            False,
        ),
    ],
)
def test_what_cannot_be_foretold_is_said_in_words(growing, left, when, note, is_soon):
    said = pages.in_words("s3", foretell(growing, left))

    assert (said.when, said.note, said.is_soon) == (when, note, is_soon)


# --- Plot ----------------------------------------------------------------------------------


def points(words: str) -> list[tuple[float, float]]:
    return [tuple(map(float, one.split(","))) for one in words.split()]  # type: ignore[misc]


def test_the_line_is_the_table(app):
    plot = pages.draw(outlook(GROWING, s3=54 * GB))

    assert [row.day for row in plot.rows] == [
        "Oct 9", "Oct 16", "Oct 23", "Oct 30", "Nov 6", "Nov 13", "Nov 20", "Nov 27",
    ]  # fmt: skip
    assert [row.came for row in plot.rows] == ["", *(f"{n}.0 GB" for n in (1, 2, 3, 2, 1, 2, 3))]
    assert [row.total for row in plot.rows] == [f"{n} GB" for n in (32, 33, 35, 38, 40, 41, 43, 46)]
    top = 100
    assert plot.scale == ["100 GB", "50 GB", "0"]
    heights = [top * (1 - y / pages.HEIGHT) for _, y in points(plot.line)]
    assert heights == pytest.approx([32, 33, 35, 38, 40, 41, 43, 46], abs=0.1)
    assert points(plot.line)[-1][0] == pages.WIDTH / 2
    assert plot.limits == [("100 GB", 0.0)]


def test_the_fan_is_the_last_row_of_the_table(app):
    plot = pages.draw(outlook(GROWING, s3=54 * GB))

    here, quiet, busy = points(plot.fan)
    assert here == points(plot.line)[-1] == points(plot.ahead)[0]
    assert plot.future.day == "Jan 15, 2027"
    assert plot.future.total == "55 GB to 65 GB"
    assert [100 * (1 - y / pages.HEIGHT) for _, y in (quiet, busy)] == pytest.approx(
        [46 + 7 * 4 / 3, 46 + 7 * 8 / 3], abs=0.1
    )
    assert plot.description == (
        "From 32 GB on Oct 9 to 46 GB today. At this pace 55 GB to 65 GB on Jan 15, 2027."
    )


def test_a_limit_far_above_is_not_drawn():
    assert pages.draw(outlook(GROWING, s3=540 * GB)).limits == []


def test_without_growth_and_in_s3_nothing_is_foretold():
    still = Growth(12 * GB, (0,) * 13, 91, AS_OF)

    for found in (outlook(still, s3=88 * GB), outlook(GROWING)):
        plot = pages.draw(found)
        assert (plot.fan, plot.ahead, plot.future) == ("", "", None)
        assert points(plot.line)[-1][0] == pages.WIDTH
        assert plot.dates[-1] == "today"


@pytest.mark.parametrize(
    "growing",
    [Growth(0, (0,) * 13, 91, AS_OF), Growth(GB, (GB,), 13, AS_OF), Growth(0, (), 0, AS_OF)],
)
def test_before_there_are_two_weeks_nothing_is_drawn(growing):
    assert pages.draw(outlook(growing, s3=GB)) is None


def test_the_page_has_it_for_eyes_and_ears(client, monkeypatch):
    found = health.read_health(None)
    object.__setattr__(found, "outlook", outlook(GROWING, s3=54 * GB, disk=20 * GB))
    monkeypatch.setattr(health, "read_health", lambda _workers: found)

    page = client.get("/status").text

    [drawing] = re.findall(r"<svg class=\"growth__drawing\".*?</svg>", page, re.DOTALL)
    svg = ElementTree.fromstring(drawing)  # noqa: S314 - our own
    assert svg.get("role") == "img"
    names = {one.get("id"): one.text for one in svg if one.tag in ("title", "desc")}
    assert [names[one] for one in svg.get("aria-labelledby").split()] == [
        "Growth of the originals",
        pages.draw(found.outlook).description,
    ]
    assert "style=" not in drawing
    table = re.search(r"<table>.*</table>", page, re.DOTALL)[0]
    assert re.findall(r"<th scope=\"row\">([^<]+)", table)[-2:] == ["Nov 27", "Jan 15, 2027"]
    assert (
        "viewer storage move --to &#34;s3://" in page or 'viewer storage move --to "s3://' in page
    )
    assert "in about 10 weeks" in page
    assert "100 GB, full disk" in page


def test_once_new_files_go_to_s3_the_page_urges_nobody(client, monkeypatch):
    found = health.read_health(None)
    object.__setattr__(found, "outlook", outlook(GROWING))
    monkeypatch.setattr(health, "read_health", lambda _workers: found)

    page = client.get("/status").text

    assert "New files go to S3" in page
    assert "viewer storage move" not in page
    assert "Originals in all stores, the last 7 weeks" in re.sub(r"\s+", " ", page)
