"""What the papers say of the tests is true."""

import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.compile(r"`([\w/]+\.py)?::(test_\w+)")


def test_every_fault_names_tests_that_are_there():
    page = (HERE.parent / "docs" / "faults.md").read_text()
    file, seen, missing = "", 0, []

    for named, test in NAMED.findall(page):
        file = named or file  # `::test` is of the file named last
        seen += 1
        if f"def {test}(" not in (HERE / file).read_text():
            missing.append(f"{file}::{test}")

    assert seen > 250
    assert missing == []
