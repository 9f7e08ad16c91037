"""Every benchmark of the table works: with tiny numbers, and with a figure for each of its rows."""

import json
import math
import subprocess
import sys

import pytest

from benchmarks import __main__ as runner
from benchmarks import table
from benchmarks.figures import Report


@pytest.mark.proof
@pytest.mark.parametrize("name", [*runner.SHARES, "size", "confinement"])
def test_a_benchmark_measures_every_row_that_it_promises(name, tmp_path):
    kept = tmp_path / "found.json"

    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", kept],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = Report.from_json(json.loads(kept.read_text()))
    assert {one.key for one in found.figures} == {
        row.key for row in table.ROWS if row.benchmark == name
    }
    assert all(math.isfinite(one.value) and one.value > 0 for one in found.figures)
    assert found.lines
