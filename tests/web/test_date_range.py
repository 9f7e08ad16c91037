"""`?since&until` means the same in every list that has it."""

import re

import pytest

from viewer.web.date_range import read_span

LISTS = ("/", "/photos", "/search?q=wall", "/trail")


def address(page: str, query: str) -> str:
    return f"{page}{'&' if '?' in page else '?'}{query}"


@pytest.mark.parametrize("page", LISTS)
def test_a_date_that_is_none_narrows_nothing_and_the_page_says_so(log_in, page):
    owner = log_in("owner")
    for since in ("yesterday", "2026-02-30", "9999-12-31"):
        answer = owner.get(address(page, f"since={since}&until=2026-09-30"))

        assert answer.status_code == 200
        assert f"“{since}” is no date. Write it as 2026-09-21." in answer.text
        # Nothing typed is lost, and a browser shows in a date field only what is a date.
        [field] = re.findall(r'<input[^>]*name="since"[^>]*>', answer.text)
        assert f'value="{since}"' in field
        assert 'type="text"' in field
        assert 'aria-invalid="true"' in field


@pytest.mark.parametrize("page", LISTS)
def test_the_wrong_way_round_is_turned_and_one_end_may_be_open(log_in, page):
    owner = log_in("owner")
    for query, since, until in (
        ("since=2026-09-22&until=2026-09-21", "2026-09-21", "2026-09-22"),
        ("since=2026-09-22", "2026-09-22", ""),
        ("until=2026-09-22", "", "2026-09-22"),
        ("since=&until=", "", ""),
    ):
        answer = owner.get(address(page, query))

        assert answer.status_code == 200
        assert "is no date" not in answer.text
        for name, value in (("since", since), ("until", until)):
            fields = re.findall(rf'<input[^>]*name="{name}"[^>]*>', answer.text)
            [field] = [one for one in fields if 'type="date"' in one]
            assert f'value="{value}"' in field


def test_only_what_was_understood_goes_into_further_addresses(app):
    span = read_span({"since": "soon", "until": "2026-09-21"})

    assert (span.first, str(span.last)) == (None, "2026-09-21")
    assert span.args == {"until": "2026-09-21"}
    assert (span.since, span.until) == ("soon", "2026-09-21")
    assert list(span.problems) == ["since"]
