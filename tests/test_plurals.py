"""One thing, two things."""

import re
from pathlib import Path

import pytest

from viewer.plurals import counted, plural

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("count", "word", "said"),
    [
        (0, "photo", "0 photos"), (1, "photo", "1 photo"), (1204, "photo", "1,204 photos"),
        (1, "delivery", "1 delivery"), (2, "delivery", "2 deliveries"), (3, "day", "3 days"),
    ],
)  # fmt: skip
def test_a_count_agrees_with_its_word(count, word, said):
    assert counted(count, word) == said
    assert said.endswith(f" {plural(count, word)}")


def test_nobody_else_puts_an_s_to_a_word():
    by_hand = re.compile(r"""["']s["'] if .*!= 1|["']s["'] if .*> 1|["']ies["']""")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()[:80]}"
        for folder, kind in (("viewer", "*.py"), ("templates", "*.html"))
        for file in (ROOT / folder).rglob(kind)
        for line in file.read_text().splitlines()
        if by_hand.search(line)
    ]

    assert found == []
