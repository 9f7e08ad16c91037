"""An open conversation is told what is new: nothing is lost over it, nothing is told twice."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import Conversation, Message

ATTEMPTS = re.compile(r"/attempts$")
NEWS = re.compile(r"/news(\?|$)")
# It asks when a test lets it, and not because time went by.
ASKS_WHEN_TOLD = """
const later = window.setTimeout;
window.setTimeout = (act, ms, ...rest) => (ms === 4000 ? 0 : later(act, ms, ...rest));
"""


class Answers:
    """Of the server to some question of a page: each stays on its way until it may come."""

    def __init__(self, page: Page, question: re.Pattern[str] = NEWS) -> None:
        self.page = page
        self.question = question
        self.held: list[Callable[[], None]] = []
        page.add_init_script(ASKS_WHEN_TOLD)
        page.route(question, self._hold)

    def _hold(self, route: Route) -> None:
        answer = route.fetch(max_redirects=0)  # as it is now, however late it comes
        self.held.append(lambda: route.fulfill(response=answer))

    def ask(self) -> None:
        """Let the page ask for news; the answer is on its way."""
        with self.asked():
            self.page.evaluate("() => dispatchEvent(new Event('online'))")

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What is done here makes it ask."""
        with self.page.expect_request(self.question):
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


# --- "Try again" ---------------------------------------------------------------------------


@pytest.fixture
def failed(deliver: Any, work: Any, provider: Any, message: Any) -> str:
    """The address of a conversation with a photo that its sender's company did not give out."""
    served = provider.serve(picture(), name="late")
    provider.withdraw(served)
    assert deliver(message(media=[served]).payload()).status_code == 204
    work()
    address = f"/conversations/{db.session.scalars(sa.select(Conversation.id)).one()}"
    db.session.rollback()
    return address


def test_a_file_that_is_tried_again_appears_in_place(failed, page, provider, work):
    answers, attempts = Answers(page), Answers(page, ATTEMPTS)
    page.goto(failed)
    answers.ask()
    with attempts.asked():
        page.get_by_role("button", name="Try again").tap()
    attempts.come()
    with answers.asked():
        answers.come()  # it told how things were before
    answers.come()
    expect(page.get_by_text("Photo on its way…")).to_be_visible()

    provider.serve(picture(), name="late")
    work()
    answers.ask()
    answers.come()

    expect(page.locator(".media__image")).to_be_visible()
    expect(page.get_by_text("Photo here")).to_be_visible()


def test_a_file_that_fails_again_can_be_tried_again(failed, page, work):
    answers, attempts = Answers(page), Answers(page, ATTEMPTS)
    page.goto(failed)
    page.evaluate("window.here = true")

    for _ in range(2):
        with attempts.asked():
            page.get_by_role("button", name="Try again").tap()
        work()  # it fails before the page asks what became of it: that finds nothing changed
        with answers.asked():
            attempts.come()
        answers.come()
        expect(page.locator("form[data-sent]")).to_have_count(0)

    with attempts.asked():
        page.get_by_role("button", name="Try again").tap()
    with answers.asked():
        attempts.come()
    answers.come()
    expect(page.get_by_text("Photo on its way…")).to_be_visible()
    assert page.evaluate("window.here")  # all of it in place


# --- The inbox -----------------------------------------------------------------------------


def line(page: Page, number: str) -> Locator:
    return page.locator(".line", has_text=f"(617) 555-{number}")


def test_the_line_that_is_read_stays_where_it_is(talk, deliver, message, work, page):
    for number in range(30):
        talk(f"+1617555{number + 4000}", at=now() - timedelta(hours=number + 1))
    db.session.rollback()
    answers = Answers(page)
    page.goto("/")
    page.evaluate("document.body.style.overflowAnchor = 'none'")  # as Safari, which has no such
    seen = line(page, "4010")
    seen.evaluate("one => scrollTo({ top: one.offsetTop, behavior: 'instant' })")
    place = seen.bounding_box()["y"]

    def comes(number: str, minutes: int) -> None:
        text = message(
            sender=f"+1617555{number}",
            conversation=f"CN{number}",
            sent_at=now() - timedelta(minutes=minutes),
        )
        assert deliver(text.payload()).status_code == 204
        work()
        answers.ask()
        answers.come()
        expect(line(page, number).locator("xpath=preceding-sibling::*")).to_have_count(0)

    comes("4020", minutes=9)  # from below
    assert seen.bounding_box()["y"] == pytest.approx(place, abs=1)
    comes("9999", minutes=6)
    assert seen.bounding_box()["y"] == pytest.approx(place, abs=1)

    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    comes("8888", minutes=3)
    assert page.evaluate("scrollY") == 0  # there it is to be seen
    expect(line(page, "8888")).to_be_in_viewport()
