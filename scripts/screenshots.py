"""Take the pictures of every page that stand in docs/screenshots/ and in the README.

It starts `viewer demo`, waits until every photo is there, works a little as the office would (a
quote from a customer's photos, sent and shared; a photo in the trash; a new colleague), and takes
each page at 360 and 1280 px, in light and dark.

Run it: make screenshots   (needs Chromium)
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.chromium import find_chromium
from tests.support.servers import free_port
from viewer.commands.demo import DEMO_PASSWORD
from viewer.extensions import sqlite

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "screenshots"
SIZES = {"phone": (360, 780), "desk": (1280, 900)}
EMAIL = "owner@demo.example"  # of the demo's made-up owner
CUSTOMER = "Tom Brennan"


@contextmanager
def demo() -> Iterator[tuple[str, Path]]:
    """A demo of our own; its address and its database."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="shots") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "viewer", "demo", "--port", str(port)],
            env=os.environ | {"VIEWER_HOME": folder}, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield base, Path(folder) / "var" / "demo" / "viewer.db"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def until_quiet(base: str, database: Path) -> None:
    """Until the demo's three months are in, and every photo that comes is there with its copies."""
    deadline, counts = time.monotonic() + 600, [0]
    while time.monotonic() < deadline:
        time.sleep(5)
        try:
            requests.get(f"{base}/healthz", timeout=5)
            with closing(sqlite.connect(database)) as connection:
                done = "SELECT count(*) FROM media_attachments WHERE thumbnail_path IS NOT NULL"
                counts.append(connection.execute(done).fetchone()[0])
        except (requests.RequestException, sqlite.Error):
            continue
        if counts[-1] > 100 and len(set(counts[-4:])) == 1:
            return
    raise SystemExit(f"The demo did not come to rest: {counts[-1]} pictures")


def log_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill(DEMO_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state("load")


def conversation_of(page: Page, name: str) -> str:
    return first(page, "/?show=photos", f"a.line__link:has-text('{name}')")


def first(page: Page, address: str, link: str) -> str:
    """Where the first such link of this page leads; waits for it, and fails without it."""
    page.goto(address)
    return page.locator(link).first.get_attribute("href") or ""


def work_a_little(page: Page, talk: str) -> dict[str, str]:
    """What the office does in a morning; the addresses of what became of it."""
    page.goto(f"{talk}/photos")
    page.get_by_text("Select all").first.click()
    page.get_by_role("button", name="Link to work").first.click()
    page.get_by_label("Title").first.fill("Seal two cracks, north wall")
    page.get_by_label("Amount").first.fill("3,850")
    with page.expect_navigation():
        page.get_by_role("button", name="Make the quote").click()
    quote = first(page, "/work", "a[href*='/work/']:has-text('Seal')")
    page.goto(quote)
    with page.expect_navigation():
        page.locator(".steps__one .button").first.click()
    page.goto(f"/shares/new?record={quote.rsplit('/', 1)[1]}")
    with page.expect_navigation():
        page.get_by_role("button", name="Make the link").click()
    shared = page.locator(".once input").input_value()
    page.goto("/photos")
    last = page.locator("[data-slide]").last.get_attribute("data-slide")
    page.goto(f"/media/{last}/passport")
    with page.expect_navigation():
        page.get_by_role("button", name="Put in the trash").click()
    page.goto("/users")
    page.get_by_label("E-mail address").fill("dana@demo.example")
    with page.expect_navigation():
        page.get_by_role("button", name="Add and get a link").click()
    invitation = page.locator(".once input").input_value()
    return {"quote": quote, "shared": shared, "invitation": invitation}


def take(browser: Browser, base: str) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    made: dict[str, str] = {}
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(
                base_url=base,
                viewport={"width": width, "height": height},
                has_touch=size == "phone",
                color_scheme=scheme,
            )
            page = context.new_page()
            page.goto("/login")
            snap(page, f"login-{size}-{scheme}")
            log_in(page)
            talk = conversation_of(page, CUSTOMER)
            made = made or work_a_little(page, talk)
            for name, address in pages(page, talk, made).items():
                page.goto(address)
                snap(page, f"{name}-{size}-{scheme}")
            page.goto(talk)
            page.locator("[data-slide]").first.click()
            page.wait_for_timeout(2_500)
            snap(page, f"lightbox-{size}-{scheme}")
            context.clear_cookies()
            for name in ("shared", "invitation"):  # for people without an account
                page.goto(made[name])
                snap(page, f"{name}-{size}-{scheme}")
            context.close()


def pages(page: Page, talk: str, made: dict[str, str]) -> dict[str, str]:
    """Every page of the staff, by name."""
    page.goto(f"{talk}/photos")
    media = page.locator("[data-slide]").first.get_attribute("data-slide")
    return {
        "inbox": "/",
        "search": "/search?q=crack",
        "conversation": first(page, f"{talk}/photos", "a[href*='#message-']"),
        "gallery": f"{talk}/photos",
        "photos": "/photos",
        "unfiled": "/unfiled",
        "work": "/work",
        "customer": f"{talk}/work",
        "quote": made["quote"],
        "form": f"{made['quote']}/edit",
        "evidence": f"{made['quote']}/evidence",
        "pick": f"{made['quote']}/pick",
        "link": f"/work/link/choose?media={media}",
        "details": f"/media/{media}/passport",
        "shares": "/shares",
        "share-new": f"/shares/new?media={media}",
        "share": first(page, "/shares", "a[href*='/shares/']:has-text('Seal')"),
        "trash": "/trash",
        "offline": "/offline",
        "status": "/status",
        "account": "/account",
        "authenticator": "/account/authenticator",
        "users": "/users",
        "user": first(page, "/users", ".row__link"),
        "audit-log": "/trail",
        "held": f"{talk}/held",
        "consent": f"{talk}/consent",
        "forgotten": "/forgotten",
        "error": "/there-is-no-such-page",
    }


def snap(page: Page, name: str) -> None:
    page.wait_for_timeout(1_200)  # thumbnails in sight, the blur gone
    page.screenshot(path=FOLDER / f"{name}.jpg", type="jpeg", quality=62)


def main() -> None:
    with demo() as (base, database), sync_playwright() as playwright:
        until_quiet(base, database)
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        take(browser, base)
        browser.close()
    print(f"{len(list(FOLDER.iterdir()))} pictures in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
