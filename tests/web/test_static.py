"""Templates, scripts and style sheets: whole, without circles, and nothing left over."""

import re
from pathlib import Path

import pytest

from scripts.structure import cycles, js_imports

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
SHEETS = sorted((ROOT / "static" / "css").glob("*.css"))
IMPORT = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["'](\./[^"']+)["']""")


def test_every_import_of_a_script_is_there_and_none_leads_in_a_circle():
    graph = js_imports(ROOT)
    missing = {
        f"{script.name} imports {name}"
        for script in SCRIPTS
        for name in IMPORT.findall(script.read_text())
        if not (script.parent / name).is_file()
    }

    assert sum(len(ends) for ends in graph.values()) > 10
    assert missing == set()
    assert list(cycles(graph)) == []


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}

    assert list(cycles(graph)) == [["a", "b", "c"]]


@pytest.mark.parametrize("file", [*SCRIPTS, *SHEETS], ids=lambda file: file.name)
def test_every_script_and_sheet_is_asked_for(file):
    """By a template, by another script, or in the list of a page's sheets."""
    words = {".js": rf"[/\"'(]{file.stem}(\.js)?[\"')]", ".css": rf"\"{file.stem}\""}[file.suffix]
    others = [*TEMPLATES, *SCRIPTS, ROOT / "static" / "service-worker.js"]

    assert any(re.search(words, other.read_text()) for other in others if other != file)


def test_no_line_of_a_template_is_longer_than_a_screen():
    too_long = [
        f"{file.relative_to(ROOT)}:{number}"
        for file in TEMPLATES
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if len(line) > 160
    ]

    assert too_long == []
