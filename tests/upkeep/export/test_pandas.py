"""The one line of docs/export.md loads a manifest, whatever the types of its columns."""

import re
from pathlib import Path

import pandas

from tests.support import factories
from tests.support.factories import Status

DOCS = Path(__file__).parents[3] / "docs" / "export.md"


def test_the_line_of_the_docs_loads_it(run, place, monkeypatch):
    customer = factories.customer()
    factories.link(factories.quote(customer, status=Status.APPROVED), *factories.photos(customer))
    factories.files(factories.text(customer), caption="12")
    run()
    [line] = re.findall(r"^photos = (pandas\.read_json\(.+\))$", DOCS.read_text(), re.MULTILINE)
    monkeypatch.chdir(place.parent)

    table = eval(line, {"pandas": pandas})  # noqa: S307 - our own docs

    assert len(table) == 2
    assert table.outcome.dropna().tolist() == ["approved"]
    assert str(table.sent_at.dtype).startswith("datetime64")
    assert table.caption.dropna().tolist() == ["12"]  # a text, not a number
    assert table.links.explode().dropna().str["status"].tolist() == ["approved"]
