"""What the papers say of the tests is true, and where they point to, there is something."""

import re
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
NAMED = re.compile(r"`([\w/]+\.py)?::(test_\w+)")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])

# A requirement of ASVS 4.0.3: chapter, the rest of its number, level, words, verdict, reason.
REQUIREMENT = re.compile(
    r"^\| (\d+)\.(\d+\.\d+) \| ([12]) \| [^|]+ \| (met|partly|not met|not applicable) \| .+ \|$",
    re.MULTILINE,
)
VERDICTS = ("met", "partly", "not met", "not applicable")
ASKED = {  # by level 1 and 2, in each chapter of the release
    1: 38, 2: 53, 3: 18, 4: 9, 5: 30, 6: 13, 7: 12,
    8: 15, 9: 7, 10: 5, 11: 8, 12: 15, 13: 13, 14: 23,
}  # fmt: skip


@pytest.mark.parametrize(
    ("page", "at_least"), [("faults.md", 250), ("asvs.md", 100), ("threat-model.md", 40)]
)
def test_each_page_names_tests_that_are_there(page, at_least):
    text = (ROOT / "docs" / page).read_text()
    file, seen, missing = "", 0, []

    for named, test in NAMED.findall(text):
        file = named or file  # `::test` is of the file named last
        seen += 1
        if not (HERE / file).is_file() or f"def {test}(" not in (HERE / file).read_text():
            missing.append(f"{file}::{test}")

    assert seen > at_least
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page):
    text = page.read_text()

    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target.read_text()), f"{path}#{anchor}"


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def test_the_table_of_asvs_has_each_requirement_once_and_its_summary_counts_them():
    text = (ROOT / "docs" / "asvs.md").read_text()
    found = REQUIREMENT.findall(text)

    assert len({row[:2] for row in found}) == len(found)
    assert Counter(int(chapter) for chapter, *_ in found) == ASKED
    for chapter, asked in ASKED.items():
        counts = Counter(verdict for number, *_, verdict in found if number == str(chapter))
        words = " | ".join(str(counts[verdict]) for verdict in VERDICTS)
        assert re.search(rf"^\| V{chapter} .+ \| {re.escape(words)} \| {asked} \|$", text, re.M)
    for level in ("1", "2"):
        counts = Counter(verdict for _, _, at, verdict in found if at == level)
        words = " | ".join(str(counts[verdict]) for verdict in VERDICTS)
        assert f"at level {level} | {words} | {counts.total()} |" in text
    total = Counter(verdict for *_, verdict in found)
    assert f"| **all** | {' | '.join(f'**{total[verdict]}**' for verdict in VERDICTS)} |" in text


def test_what_is_not_met_has_an_answer():
    text = (ROOT / "docs" / "asvs.md").read_text()
    answers = text.partition("what we would do |\n")[2].partition("\n\n")[0]
    answered = {
        number
        for line in answers.splitlines()
        for number in re.findall(r"\d+\.\d+\.\d+", line.split("|")[1])
    }

    not_met = {f"{a}.{b}" for a, b, _, verdict in REQUIREMENT.findall(text) if verdict == "not met"}

    assert answered == not_met
