"""Whatever strangers send runs nothing: not as a file, not as a name, not as words.

Each attack calls `ran()`, which the test puts into every page and frame, opens a dialog, and asks
for /beacon. None of that may happen, on any page that there is.
"""

import copy
import io
import re
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask
from PIL import Image
from playwright.sync_api import Error, Page

from tests.browser.conftest import DESK
from tests.payloads import load
from tests.support.pictures import picture
from tests.support.routes import PLACE
from viewer.extensions import db, now
from viewer.models import (
    ApiToken,
    Conversation,
    MediaAttachment,
    Message,
    User,
    UserSession,
    WorkRecord,
    fingerprint,
)
from viewer.office import accounts, audit, filing, records, sharing

RUN = "self.ran&&ran();new Image().src='/beacon';fetch('/beacon');alert(1)"
EVENT = RUN.replace("'", "&#39;")
WORDS = (
    f"<script>{RUN}</script>",
    f'"><img src=x onerror="{EVENT}">',
    f"' onmouseover='{EVENT}' autofocus onfocus='{EVENT}' x='",
    "{{7*7}}${7*7}<%= 7*7 %>#{7*7}",
    "\u202egpj.exe\u202c",
    "zero\u200b\u200d\ufeffwidth",
    f"</title></textarea></style></script><svg onload={EVENT.replace(' ', '')}>",
    f"javascript:{RUN}",
    "&lt;script&gt;&#60;b&#62;",
    "--><!--<a href=/beacon>",
)
NASTY = " ".join(WORDS)
SHORT = f'"><img src=x onerror=ran()><script>ran()</script>{WORDS[3]}\u202e'


def svg() -> bytes:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"'
        f' width="90" height="90" onload="{EVENT}"><script>{EVENT}</script>'
        f'<image x:href="/beacon" width="9" height="9"/><a x:href="javascript:{EVENT}">'
        '<rect width="90" height="90"/></a><foreignObject width="9" height="9">'
        f'<iframe xmlns="http://www.w3.org/1999/xhtml" src="javascript:{EVENT}"/></foreignObject>'
        "</svg>"
    ).encode()


def html() -> bytes:
    return (
        f"<!doctype html><html><head><script>{RUN}</script><link rel=stylesheet href=/beacon>"
        f'<meta http-equiv=refresh content="0;url=/beacon"></head><body onload="{EVENT}">'
        f'<img src=x onerror="{EVENT}"><img src=/beacon><iframe srcdoc="<script>{EVENT}</script>">'
        "</iframe><form action=/logout method=post id=f></form></body></html>"
    ).encode()


def gif_and_script() -> bytes:
    """A picture whose first bytes begin a comment, and whose last are a program."""
    out = io.BytesIO()
    Image.new("P", (9, 9)).save(out, "GIF")
    body = bytearray(out.getvalue())
    body[6:8] = b"/*"  # its width; the comment of a program
    return bytes(body) + f"*/=1;{RUN}//".encode()


def jpeg_with_a_page() -> bytes:
    """A true photo with a page in its comment, and another behind its end."""
    photo, page = picture(300, 200, "teal"), html()
    comment = b"\xff\xfe" + struct.pack(">H", len(page) + 2) + page
    return photo[:2] + comment + photo[2:] + page


def png_named_as_a_script() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "brown").save(out, "PNG")
    return out.getvalue() + html()


EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
PDF = (
    b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1);"
    b"this.submitForm('/beacon'))>>/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>"
    b"endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
)
MHTML = b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\n" + html()
XML = (
    b'<?xml version="1.0"?><?xml-stylesheet href="/beacon" type="text/xsl"?>'
    b'<html xmlns="http://www.w3.org/1999/xhtml"><script>ran()</script></html>'
)
# What is in it, what the provider says it is, and what stands at the end of its address.
FILES: dict[str, tuple[bytes, str, str]] = {
    "svg": (svg(), "image/svg+xml", "/a.svg"),
    "html": (html(), "text/html", "/a.html"),
    "xml": (XML, "text/html", "/a.xhtml"),
    "mhtml": (MHTML, "multipart/related", "/a.mht"),
    "script": (RUN.encode(), "text/javascript", "/a.js"),
    "flash": (b"CWS\x0a" + b"x" * 200, "application/x-shockwave-flash", "/a.swf"),
    "gif and script": (gif_and_script(), "image/gif", "/a.gif"),
    "photo with a page": (jpeg_with_a_page(), "image/jpeg", "/a.jpg"),
    "picture with a page": (png_named_as_a_script(), "text/html; charset=utf-7", "/a.png.html"),
    "virus": (EICAR, "application/octet-stream", "/a.jpg.exe"),
    "pdf": (PDF, "application/pdf", "/a.pdf"),
    "photo": (picture(200, 200, "grey"), "image/jpeg", quote(f"/{SHORT}.jpg")),
    "photo with lines": (picture(90, 90), "image/jpeg", quote('/a\r\nX-Evil: 1".jpg')),
}  # fmt: skip
SHOWN = {"gif and script", "photo with a page", "picture with a page", "photo", "photo with lines"}


@pytest.fixture
def asked(app: Flask) -> list[str]:
    """Every path that the server was asked for."""
    paths: list[str] = []
    real = app.wsgi_app

    def note(environ: Any, start_response: Any) -> Any:
        paths.append(environ["PATH_INFO"])
        return real(environ, start_response)

    app.wsgi_app = note  # type: ignore[method-assign]
    return paths


@pytest.fixture
def sent(
    asked: list[str], deliver: Any, work: Any, provider: Any, message: Any, log_in: Any
) -> dict[str, str]:
    """All of it has come, and is used wherever our own people can put words: ids of the files."""
    urls = {
        name: provider.serve(body, content_type=declared, path_suffix=suffix)
        for name, (body, declared, suffix) in FILES.items()
    }
    media = [{"url": url, "type": FILES[name][1]} for name, url in urls.items()]
    assert deliver(message(text=NASTY, media=media).payload()).status_code == 204
    assert deliver(message(text="x" * 100_000 + WORDS[0]).payload()).status_code == 204
    assert deliver(message(text=WORDS[0], sender=WORDS[0], conversation=None).payload())
    assert deliver(contact(NASTY[:250])).status_code == 204
    for payload in call():
        assert deliver(payload).status_code == 204
    assert deliver({"id": "EVodd", "type": NASTY, "data": {"object": NASTY}}).status_code == 204
    work()
    log_in("owner")
    rows = db.session.scalars(sa.select(MediaAttachment)).all()
    ours = {row.openphone_url: row for row in rows}
    found = {name: ours[url] for name, url in urls.items()}
    assert {name: row.problem for name, row in found.items() if not row.is_stored} == {}
    _put_everywhere([found[name] for name in sorted(SHOWN)])
    ids = {name: str(row.id) for name, row in found.items()}
    db.session.commit()
    db.session.close()
    return ids


def contact(name: str) -> dict[str, Any]:
    payload = load("d3_contact_updated")
    payload["data"]["resource"] |= {"firstName": name, "lastName": SHORT, "company": NASTY[:250]}
    return payload


def call() -> Iterator[dict[str, Any]]:
    """A missed call, what was said in it, and what a machine made of that."""
    missed = load("d3_call_missed")
    yield missed
    for name, words in (
        ("d3_call_transcript", {"dialogue": [{"userId": None, "identifier": SHORT, "content": NASTY,
                                              "start": 1, "end": 2}]}),
        ("d3_call_summary", {"summary": [NASTY, SHORT], "nextSteps": [NASTY]}),
    ):  # fmt: skip
        payload = copy.deepcopy(load(name))
        payload["data"]["resource"] |= words
        payload["data"]["resource"]["callId"] = missed["data"]["resource"].get("callId") or missed[
            "data"
        ]["resource"].get("id")
        yield payload


def _put_everywhere(files: list[MediaAttachment]) -> None:
    """Into what people type: names, titles, captions, notes, devices, the trail."""
    owner = db.session.scalars(sa.select(User)).one()
    owner.name = SHORT[:120]
    accounts.add("fay@crack.example", User.Role.FIELD, SHORT)
    accounts.add_token(owner, SHORT[:120], [ApiToken.Scope.READ])
    db.session.add(UserSession(user_id=owner.id, fingerprint="x", device=NASTY[:255]))
    audit.note(SHORT[:60], NASTY[:500])
    conversation = db.session.get(Conversation, files[0].conversation_id)
    for kind in WorkRecord.Kind:
        values: dict[str, Any] = {"notes": NASTY}
        if kind is WorkRecord.Kind.APPOINTMENT:
            values |= {"starts_at": now() + timedelta(hours=3), "place": SHORT[:300]}
        else:
            values |= {"title": SHORT[:200]}
        record = records.create(kind, conversation, values, by=owner)
        filing.link(files, record, owner, caption=SHORT[:300])
    for one in files:
        one.caption = SHORT[:300]
    share, _ = sharing.create(SHORT[:100], files, now() + timedelta(days=9), owner)
    share.fingerprint = fingerprint("secret")


class Trap:
    """Notices whatever runs."""

    def __init__(self, page: Page, asked: list[str]) -> None:
        self.page, self.asked, self.caught = page, asked, list[str]()
        page.context.expose_function("ran", lambda: self.caught.append(f"ran on {page.url}"))
        page.on("dialog", self._dialog)
        page.on("download", lambda download: download.cancel())

    def _dialog(self, dialog: Any) -> None:
        self.caught.append(f"a dialog on {self.page.url}")
        dialog.dismiss()

    def open(self, address: str) -> int | None:
        """The status; None for a download."""
        status = self._go(address)
        self.check()
        return status

    def _go(self, address: str) -> int | None:
        while True:
            try:
                answer = self.page.goto(address)
            except Error as error:
                if "Download is starting" in error.message:
                    return None  # the navigation ends, the page stays what it was
                # The end of a download that was cancelled is a navigation, and may come only now.
                if "is interrupted by another navigation" not in error.message:
                    raise
            else:
                return answer.status if answer else None

    def check(self) -> None:
        assert self.caught == []
        assert [path for path in self.asked if "beacon" in path or path == "/x"] == []


@pytest.fixture
def trap(open_page: Callable[..., Page], asked: list[str]) -> Callable[..., Trap]:
    def lay(role: str | None = "owner") -> Trap:
        page = open_page(role, DESK)
        # An attack that the policy stops would still have been put into the page: that is told on
        # the console, and not among these.
        page.expected_errors.append("Failed to load resource")  # type: ignore[attr-defined]
        return Trap(page, asked)

    return lay


def test_opening_any_address_of_any_file_runs_nothing(sent, app, trap):
    trap = trap()
    rules = [rule for rule in app.url_map.iter_rules() if "media_id" in rule.arguments]
    opened: dict[str, int | None] = {}
    for name, media_id in sent.items():
        for rule in rules:
            if "GET" in rule.methods:
                address = PLACE.sub(media_id, rule.rule)
                status = trap.open(address)
                assert status is None or status < 500, address
                opened[f"{rule.endpoint} {name}"] = status

    originals = {name: opened[f"media.files.original {name}"] for name in sent}
    assert originals == {name: 200 if name in SHOWN else None for name in sent}


def test_no_file_is_taken_for_a_program_a_style_or_a_worker(sent, trap):
    """On a page of ours, which may load programs from this host."""
    trap = trap()
    trap.page.expected_errors += [
        "Refused to execute script", "Refused to apply style", "MIME type", "Failed to load",
    ]  # fmt: skip
    trap.open("/status")
    for media_id in sent.values():
        for suffix in ("", "?download"):
            outcome = trap.page.evaluate(
                """async (address) => {
                  const tried = (name, values) => new Promise((done) => {
                    const element = Object.assign(document.createElement(name), values);
                    element.onload = () => done("loaded");
                    element.onerror = () => done("refused");
                    document.head.append(element);
                  });
                  const worked = new Promise((done) => {
                    try {
                      const worker = new Worker(address);
                      worker.onerror = () => done("refused");
                      worker.onmessage = () => done("loaded");
                    } catch { done("refused"); }
                  });
                  return [
                    await tried("script", { src: address }),
                    await tried("script", { src: address, type: "module" }),
                    await tried("link", { rel: "stylesheet", href: address }),
                    await worked,
                    await navigator.serviceWorker.register(address).then(() => "loaded",
                                                                         () => "refused"),
                  ];
                }""",
                f"/media/{media_id}{suffix}",
            )
            assert outcome == ["refused"] * 5
    trap.check()


def test_no_page_makes_a_program_of_what_people_say(sent, app, trap):
    trap = trap()
    db.session.close()
    ids = {
        "media_id": sent["photo with a page"],
        "conversation_id": str(db.session.scalar(sa.select(MediaAttachment.conversation_id))),
    }
    for table in db.metadata.sorted_tables:
        if "id" in table.c and isinstance(table.c.id.type, sa.Uuid):
            first = db.session.scalar(sa.select(table.c.id).limit(1))
            ids.setdefault(f"{table.name.removesuffix('s').rpartition('_')[2]}_id", str(first))
    db.session.close()
    opened = []
    for rule in app.url_map.iter_rules():
        if "GET" not in rule.methods or rule.endpoint in ("static", "sheets"):
            continue
        for word in re.findall(r"<any\(([^)]*)\)", rule.rule)[:1] or [""]:
            for one in word.split(","):
                address = rule.rule.replace("<token>", "secret").replace("<int:position>", "1")
                address = re.sub(r"<any\([^>]*>", one, address)
                address = re.sub(
                    r"<uuid:(\w+)>", lambda place: ids.get(place[1], sent["photo"]), address
                )
                status = trap.open(address)
                assert status is None or status < 500 or address == "/healthz", address
                if status == 200 and "text/html" in (
                    trap.page.evaluate("document.contentType") or ""
                ):
                    opened.append(address)
                    _look_closely(trap)
    for query in WORDS:
        for address in (
            "/?q=",
            "/search?q=",
            "/login?next=",
            "/trail?who=",
            "/photos?from=",
            "/work?q=",
        ):
            trap.open(address + quote(query))
    assert len(opened) > 15
    assert any(address.startswith("/conversations/") for address in opened)


def _look_closely(trap: Trap) -> None:
    """Nothing of theirs became an element, an attribute or an address."""
    found = trap.page.evaluate(
        """() => [...document.querySelectorAll("*")].flatMap((element) => [
          ...[...element.attributes].filter((a) => a.name.startsWith("on")).map((a) => a.name),
          ...[...element.attributes].filter((a) =>
            ["href", "src", "action", "formaction", "srcset"].includes(a.name) &&
            /^\\s*(javascript|vbscript):/i.test(a.value)).map((a) => a.value),
          ...(element.localName === "script" && !element.src && element.type !== "application/json"
              ? ["an inline script"] : []),
          ...(element.localName === "img" && element.getAttribute("src") === "x" ? ["x"] : []),
        ])"""
    )
    assert found == [], trap.page.url
    assert "49${7*7}" not in trap.page.content()
    trap.check()


def test_their_words_are_shown_as_they_were_said(sent, trap):
    trap = trap()
    conversation = db.session.scalars(
        sa.select(Message).where(Message.body.startswith(WORDS[0]))
    ).first()
    address = f"/conversations/{conversation.conversation_id}"
    db.session.close()
    trap.open(address)

    words = trap.page.evaluate("document.body.textContent")

    for one in (WORDS[0], WORDS[3], WORDS[8]):
        assert one in words
    # A line that is read from the right ends with its element: it turns nothing else around.
    turned = trap.page.locator("bdi, [dir=auto]").filter(has_text="gpj.exe")
    assert turned.count() > 0


def test_a_stranger_with_a_link_is_shown_words_too(sent, trap):
    trap = trap(None)

    assert trap.open("/s/secret") == 200
    _look_closely(trap)
    for position in range(1, len(SHOWN) + 1):
        for name in ("", "/thumbnail", "/picture", "/play", "/download"):
            trap.open(f"/s/secret/{position}{name}")
