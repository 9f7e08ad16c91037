"""How the figures of the benchmarks are kept and rendered. test_quick proves that each runs."""

import json
import subprocess
import sys

import pytest

from benchmarks import __main__ as runner
from benchmarks import figures, page, plots, table
from benchmarks.figures import Figure, Report
from benchmarks.page import Measured

BOTH_ENDS = {row.key: Figure(row.key, 1.0) for row in table.ROWS}


def cells(rendered: str, work: str) -> list[str]:
    [line] = [line for line in rendered.splitlines() if line.startswith(f"| {work} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def rendered(*reached: Figure, before: tuple[Figure, ...] = ()) -> str:
    given = BOTH_ENDS | {one.key: one for one in reached}
    return table.render(given.values(), before)


@pytest.fixture
def measured():
    reports = {name: Report(seconds=2.0) for name in runner.SHARES}
    for row in table.ROWS:
        reports[row.benchmark].add(row.key, 3.0, "ms", "of 4")
    reports["door"].say("a line of the door")
    reports["door"].curves["door.alone"] = figures.quantiles([8.0, 9.0, 30.0])
    reports["burst"].curves["burst.stored"] = [(0.0, 0.0), (1.5, 1000.0)]
    reports["files"].add("files.thumbnails.alone", 600.0, "/s", before=True)
    return Measured(
        "2026-11-26 10:00 UTC", 840.0, "def5678", "abc1234", {"CPU": "one"}, {}, reports
    )


@pytest.mark.parametrize(
    ("value", "met"),
    [(0.39, "**no**"), (0.4, "yes"), (2.0, "yes")],
)
def test_a_goal_of_at_least_is_met_from_its_value_on(value, met):
    found = cells(
        rendered(Figure("door.sqlite.rate", value, detail="712 of 1,780/s")),
        "webhook alone, 8 clients, SQLite: rate, of the bare door's",
    )

    assert found[2:] == ["–", f"**{value:g}** (712 of 1,780/s)", "at least 0.4", met]


@pytest.mark.parametrize(("value", "met"), [(300.0, "yes"), (300.4, "**no**")])
def test_a_goal_of_at_most_is_judged_by_what_was_measured_not_by_what_is_shown(value, met):
    before = Figure("idle.memory", 717.2, "MB", "10 processes")

    found = cells(
        rendered(Figure("idle.memory", value, "MB"), before=(before,)), "`viewer up` at rest (PSS)"
    )

    assert found[1:] == [
        "681 MB", "717 MB (10 processes)", "**300 MB**", "at most 300 MB", met
    ]  # fmt: skip


@pytest.mark.parametrize(("before", "met"), [((), "–"), ((680.0,), "yes"), ((700.0,), "**no**")])
def test_a_goal_may_be_so_many_times_what_was_before(before, met):
    earlier = tuple(Figure("files.thumbnails.alone", value, "/s") for value in before)

    found = cells(
        rendered(Figure("files.thumbnails.alone", 1700.0, "/s"), before=earlier),
        "thumbnails over HTTP, viewer alone",
    )

    assert found[3:] == ["**1,700/s**", "at least 2.5 times before", met]


def test_a_row_that_was_not_measured_is_no_empty_row():
    given = [figure for key, figure in BOTH_ENDS.items() if key != "burst.stored"]

    with pytest.raises(KeyError, match=r"burst\.stored"):
        table.render(given, [])


def test_a_figure_that_no_row_shows_is_not_lost_silently():
    with pytest.raises(KeyError, match=r"no row for door\.unheard_of"):
        rendered(Figure("door.unheard_of", 1.0))


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [(0.352, "times", "0.352"), (4.0, "ms", "4 ms"), (12345.6, "/s", "12,346/s"), (8, "", "8")],
)
def test_a_quantity_has_three_digits_that_count(value, unit, said):
    assert table.quantity(value, unit) == said


def test_quantiles_are_of_all_values():
    values = [float(number) for number in range(1, 1001)]

    assert (figures.quantile(values, 0.5), figures.quantile(values, 0.99)) == (501.0, 991.0)
    assert figures.quantile(values, 1.0) == 1000.0
    assert figures.quantiles([3.0, 1.0, 2.0], points=2) == [(1.0, 0.0), (2.0, 0.5), (3.0, 1.0)]


def test_what_was_kept_of_a_run_is_read_as_it_was(measured, tmp_path):
    measured.write(tmp_path / "kept.json")

    assert page.read(tmp_path / "kept.json") == measured


def test_the_page_shows_table_machine_plots_and_what_was_printed(measured):
    said = page.render(measured)

    assert "at def5678, in one run of 14.0 minutes; “before” is abc1234" in said
    assert page.table_of(measured) in said
    assert "CPU: one." in said
    assert "performance/burst.svg" in said
    assert "a line of the door" in said


def test_a_block_takes_the_place_of_the_last_one():
    before = "# Page\n\n<!-- bench -->\nold \\1\n<!-- /bench -->\n\nMore\n"

    after = page.with_block(before, "bench", r"new \g<0>")

    assert after == "# Page\n\n<!-- bench -->\n\nnew \\g<0>\n\n<!-- /bench -->\n\nMore\n"
    with pytest.raises(ValueError, match="no block for size"):
        page.with_block(before, "size", "x")


def test_the_same_figures_give_the_same_plots(measured, tmp_path):
    drawn = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        plots.draw(measured, tmp_path / name)
        drawn.append({file.name: file.read_text() for file in (tmp_path / name).iterdir()})

    assert set(drawn[0]) == {f"{name}.svg" for name in page.PLOTS}
    assert drawn[0] == drawn[1]
    assert "webhook alone, SQLite: rate" in drawn[0]["goals.svg"]
    assert "ours, alone" in drawn[0]["webhook.svg"]


def test_the_shares_of_one_run_are_within_its_limit():
    assert sum(runner.SHARES.values()) <= runner.LIMIT
    assert {row.benchmark for row in table.ROWS} == set(runner.SHARES)
    assert set(runner.WITH_BEFORE) <= set(runner.SHARES)


def test_a_benchmark_takes_its_numbers_from_the_mode_and_from_its_options(tmp_path):
    program = (
        "from benchmarks import figures\n"
        "def measure(report, asked):\n"
        "    report.add('some.key', asked.photos * asked.seconds, 'ms')\n"
        "    report.say(f'{asked.photos} {asked.seconds}')\n"
        "figures.run('About.', measure, photos=(1000, 5), seconds=(8.0, 0.5))\n"
    )
    kept = tmp_path / "found.json"

    said = [
        subprocess.run(
            [sys.executable, "-c", program, *words, "--json", kept],
            capture_output=True, text=True, check=True,
        ).stdout
        for words in ([], ["--quick"], ["--quick", "--photos", "7"])
    ]  # fmt: skip

    assert said == ["1000 8.0\n", "5 0.5\n", "7 0.5\n"]
    found = Report.from_json(json.loads(kept.read_text()))
    assert found.figures == [Figure("some.key", 3.5, "ms")]
    assert found.lines == ["7 0.5"]


@pytest.mark.parametrize("words", [["door"], ["verify", "nothing"]])
def test_what_has_no_block_of_the_page_is_not_run(words, capsys):
    assert runner.main(words) == 2
    assert f"No block of the page for {words[-1]}" in capsys.readouterr().err
