"""An open conversation is told what is new: nothing is lost over it, nothing is told twice."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web import test_pages
from viewer.extensions import db, now
from viewer.models import Message

talk = test_pages.talk
NEWS = re.compile(r"/news(\?|$)")
# It asks when a test lets it, and not because time went by.
ASKS_WHEN_TOLD = """
const later = window.setTimeout;
window.setTimeout = (act, ms, ...rest) => (ms === 4000 ? 0 : later(act, ms, ...rest));
"""


class Answers:
    """Of the server, to a page that asks for news: each stays on its way until it may come."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.held: list[Callable[[], None]] = []
        page.add_init_script(ASKS_WHEN_TOLD)
        page.route(NEWS, self._hold)

    def _hold(self, route: Route) -> None:
        answer = route.fetch()  # as it is now, however late it comes
        self.held.append(lambda: route.fulfill(response=answer))

    def ask(self) -> None:
        """Let the page ask; the answer is on its way."""
        with self.asked():
            self.page.evaluate("() => dispatchEvent(new Event('online'))")

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What is done here makes it ask."""
        with self.page.expect_request(NEWS):
            yield
        while not self.held:
            self.page.evaluate("() => new Promise(requestAnimationFrame)")

    def come(self) -> None:
        """What is on its way arrives."""
        self.held.pop()()


@pytest.fixture
def long(talk: Any) -> tuple[str, list[Any]]:
    """The address of a conversation of 140 messages, and their ids."""
    row = talk(messages=140, at=now(), apart=timedelta(minutes=47), body="Text number {}")
    found = f"/conversations/{row.id}", [message.id for message in row.messages]
    db.session.rollback()
    return found


def write(beside: Any, words: str) -> None:
    """A text of ours, a minute after that message, which is told only now."""
    row = db.session.get_one(Message, beside)
    db.session.add(
        Message(
            conversation_id=row.conversation_id,
            provider_id=f"ACnews-{words}",
            kind=Message.Kind.TEXT,
            direction=Message.Direction.OUTGOING,
            body=words,
            sent_at=row.sent_at + timedelta(minutes=1),
        )
    )
    db.session.commit()


def test_what_was_loaded_while_an_answer_was_on_its_way_stays(long, page):
    _, ids = long
    answers = Answers(page)
    page.goto(f"/messages/{ids[40]}")
    write(ids[40], "Told late")
    answers.ask()
    for way in ("newer", "older"):
        page.locator(f"[data-more={way}]").evaluate("link => link.click()")  # without scrolling
        expect(page.locator("[data-announcer]")).to_contain_text(f"{way} messages")
    count = page.locator("article").count()

    answers.come()
    expect(page.get_by_text("Told late")).to_have_count(1)
    assert page.locator("article").count() == count + 1
    write(ids[40], "Told later")
    answers.ask()
    answers.come()

    expect(page.get_by_text("Told later")).to_have_count(1)
    assert page.locator("article").count() == count + 2
    expect(page.locator("[data-announcer]")).to_have_text("16 older messages")  # nothing is new
    expect(page.locator("[data-pill]")).to_be_hidden()
