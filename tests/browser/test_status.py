"""The forecast on the status page, on a phone and on a desk, in light and dark."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, violations
from tests.support.factories import customer, files, text
from viewer.extensions import now


@pytest.fixture
def grown(app):
    """Thirteen weeks in which 3 GB came each, after a long time."""
    message = text(customer())
    for days in (120, *range(1, 91, 7)):
        sent_at = now() - timedelta(days=days)
        files(message, sent_at=sent_at, downloaded_at=now(), file_size=3_000_000_000)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("viewport", [PHONE, DESK])
def test_growth_is_seen_and_read_by_everybody(grown, open_page, viewport, dark):
    page = open_page("office", viewport, dark=dark)
    page.goto("/status")
    drawing = page.get_by_role("img", name="Growth of the originals")

    expect(drawing).to_be_visible()
    box = drawing.bounding_box()
    assert 150 < box["height"] < 220
    assert box["x"] + box["width"] <= viewport["width"]
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(16)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
