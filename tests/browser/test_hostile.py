"""What strangers send runs nowhere: not as a file, not as words (rows 109, 118, 119, 122, 124)."""

import sqlalchemy as sa
from playwright.sync_api import Error as PlaywrightError

from tests.browser.conftest import DESK
from tests.test_journey import picture
from viewer.demo.provider import Answer
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message

# Each would tell on itself: by a dialog, by a mark on the window, or by asking for /beacon.
SCRIPT = "alert(1);window.ran=1;fetch('/beacon')"
FILES = {
    "image/svg+xml": f'<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT}"><script>{SCRIPT}'
    "</script></svg>",
    "text/html": f'<!doctype html><img src=/beacon onerror="{SCRIPT}"><script>{SCRIPT}</script>',
    "application/xhtml+xml": f'<html xmlns="http://www.w3.org/1999/xhtml"><script>{SCRIPT}</script>'
    "</html>",
    "application/javascript": SCRIPT,
    "application/pdf": f"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS({SCRIPT})>>>>endobj",
    "application/x-msdownload": "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR",
}
GIF_AND_SCRIPT = b"GIF89a/*\x00\x01\x00\x80\x00\x00\xff*/=1;" + SCRIPT.encode()
JPEG_WITH_PAGE = picture()[:2] + b"\xff\xfe\x00\x60" + (
    b"<html><script>alert(1)</script>".ljust(94, b" ")
) + picture()[2:]  # fmt: skip
WORDS = (
    f"<script>{SCRIPT}</script>", f'"onerror="{SCRIPT}', f"'><img src=x onerror={SCRIPT}>",
    "{{7*7}}${7*7}", "gpj.\u202eexe", "a\u200bb", "javascript:alert(1)", "long " + "w" * 100_000,
)  # fmt: skip


def watched(page):
    """A page that remembers what must not happen."""
    happened = []
    page.on("dialog", lambda dialog: (happened.append("dialog"), dialog.dismiss()))
    page.on("request", lambda request: "/beacon" in request.url and happened.append(request.url))
    # What a browser says of a file it rightly refuses to show or run is expected here.
    page.expected_errors += ["Content Security Policy", "Content-Security-Policy", "sandboxed",
                             "Failed to load resource", "Blocked script"]  # fmt: skip
    return happened


def test_a_file_that_could_run_runs_nowhere(deliver, work, provider, message, open_page):
    contents = {kind: body.encode() for kind, body in FILES.items()}
    contents |= {"image/gif": GIF_AND_SCRIPT, "image/jpeg": JPEG_WITH_PAGE}
    served = iter(contents.items())

    def answer(_request):
        kind, body = next(served)
        return Answer(200, body, kind)

    provider.mount("/strange/", answer)
    urls = [f"{provider.url}/strange/{n}%22%3E%3Cscript%3E.html" for n in range(len(contents))]
    deliver(message(media=urls).payload())
    work()
    rows = db.session.scalars(sa.select(MediaAttachment)).all()
    conversation = db.session.scalar(sa.select(Conversation.id))
    db.session.commit()
    page = open_page(viewport=DESK, touch=False)
    happened = watched(page)

    page.goto(f"/conversations/{conversation}")
    stored = [row for row in rows if row.state is MediaAttachment.State.STORED]
    for row in stored:
        for copy in ("", "/thumbnail", "/preview", "/playable"):
            page.evaluate(
                """address => new Promise(done => {
                    for (const tag of ['img', 'iframe', 'object', 'embed', 'script', 'video']) {
                        const element = document.createElement(tag)
                        element[tag === 'object' ? 'data' : 'src'] = address
                        document.body.append(element)
                    }
                    setTimeout(done, 50)
                })""",
                f"/media/{row.id}{copy}",
            )
        assert page.evaluate("window.ran") is None
        # Opened by itself it is shown in a box where nothing runs, or it is a download.
        alone = page.context.new_page()
        try:
            alone.goto(f"/media/{row.id}", timeout=5_000)
            assert alone.evaluate("window.ran") is None
        except PlaywrightError as refusal:
            assert "Download is starting" in refusal.message  # noqa: PT017
        alone.close()

    assert len(stored) >= 6  # an error page in place of a photo is kept apart, and told
    assert happened == []


def test_words_of_strangers_are_only_words(deliver, work, message, open_page):
    for words in WORDS:
        deliver(message(text=words).payload())
    contact = {
        "id": "EVcontact", "object": "event", "type": "contact.updated",
        "createdAt": "2026-09-21T13:00:00.000Z", "apiVersion": "v4",
        "data": {"object": {"id": "CTstrange", "object": "contact", "firstName": WORDS[0],
                            "lastName": WORDS[1], "company": WORDS[2],
                            "fields": [{"type": "phone-number", "value": "+16175550123"}]}},
    }  # fmt: skip
    deliver(contact)
    work()
    conversation = db.session.scalar(sa.select(Conversation.id))
    one = db.session.scalar(sa.select(Message.id))
    db.session.commit()
    page = open_page()
    happened = watched(page)

    for address in ("/", f"/conversations/{conversation}", f"/messages/{one}", "/photos",
                    f"/conversations/{conversation}/photos", f"/conversations/{conversation}/work",
                    "/search?q=script", "/search?q=%3Cscript%3Ealert(1)%3C/script%3E", "/unfiled",
                    "/work", "/trail"):  # fmt: skip
        page.goto(address)
        assert page.evaluate("window.ran") is None
        assert page.locator("main script:not([src]), main [onerror], main [onload]").count() == 0

    page.goto(f"/conversations/{conversation}")
    text = page.locator("main").inner_text()
    assert "{{7*7}}" in text
    assert "49" not in text.replace("\n", " ").split()
    assert f"<script>{SCRIPT}</script>" in text
    assert page.locator("main a[href^='javascript:']").count() == 0
    assert happened == []
