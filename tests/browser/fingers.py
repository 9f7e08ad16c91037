"""What people do on a screen: real touches, through the browser's own input; and waiting for it."""

from playwright.sync_api import CDPSession, Page

Point = tuple[float, float]


def until(page: Page, condition: str) -> None:
    """Wait until this JavaScript expression holds.

    Playwright's wait_for_function evaluates strings within the page, where our policy forbids it.
    """
    page.evaluate(
        f"""() => new Promise((done, late) => {{
            setTimeout(() => late(new Error({condition!r} + " – not within 30 s")), 30_000);
            const look = () => (({condition}) ? done() : requestAnimationFrame(look));
            look();
        }})"""
    )


def opened(page: Page) -> None:
    """The viewer's opening has come to rest: only then gestures count."""
    until(page, "document.querySelectorAll('.pswp__item')[2].style.display === 'block'")


class Fingers:
    """One or two of them on the glass of a page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.session: CDPSession = page.context.new_cdp_session(page)

    def touch(self, kind: str, *points: Point) -> None:
        self.session.send(
            "Input.dispatchTouchEvent",
            {
                "type": f"touch{kind}",
                "touchPoints": [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(points)],
            },
        )

    def move(self, *ways: tuple[Point, Point], steps: int = 8) -> None:
        """Each finger from its first point to its second, then up."""
        self.touch("Start", *(start for start, _ in ways))
        for step in range(1, steps + 1):
            self.touch(
                "Move",
                *(
                    (x + (to_x - x) * step / steps, y + (to_y - y) * step / steps)
                    for (x, y), (to_x, to_y) in ways
                ),
            )
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.touch("End")

    def tap(self, at: Point) -> None:
        self.touch("Start", at)
        self.touch("End")
