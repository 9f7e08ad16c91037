"""Visit the restored viewer as a person would: log in, open originals, compare their bytes."""

import contextlib
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from viewer.upkeep.drill.scratch import DrillFailed, Scratch, tail

PATIENCE = 60.0  # seconds until the web server answers
_TRIES = 3  # ports
GRACE = 10.0  # seconds for it to stop
TIMEOUT = (5, 60)  # seconds: to connect, and between two blocks
EMAIL = "drill@viewer.invalid"

_CHUNK = 1024 * 1024  # bytes
_TOKEN = re.compile(r'name="csrf_token"[^>]* value="([^"]+)"')


class Visitor:
    """A browser in which somebody is logged in to the restored viewer."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._browser = requests.Session()
        self._browser.trust_env = False  # no proxy, no .netrc

    def has_login_page(self) -> bool:
        """Whether that is what answers."""
        try:
            return _TOKEN.search(self._ask("GET", "/login").text) is not None
        except DrillFailed:
            return False

    def log_in(self, password: str) -> None:
        """Raises DrillFailed."""
        token = _TOKEN.search(self._ask("GET", "/login").text)
        if token is None:
            raise DrillFailed("The restored viewer has no login page.")
        form = {"email": EMAIL, "password": password, "csrf_token": token[1]}
        answer = self._ask("POST", "/login", data=form, allow_redirects=False)
        if answer.status_code not in (302, 303):
            raise DrillFailed(
                f"The restored viewer answered {answer.status_code} to a right password."
            )

    def hash_of(self, media: uuid.UUID) -> str:
        """The hash of an original as it is served. Raises DrillFailed."""
        digest = hashlib.sha256()
        answer = self._ask("GET", f"/media/{media}", stream=True)
        with answer:
            if answer.status_code != 200:
                return f"answer {answer.status_code}"
            try:
                for chunk in answer.iter_content(_CHUNK):
                    digest.update(chunk)
            except requests.RequestException:
                return "an answer that broke off"
        return digest.hexdigest()

    def close(self) -> None:
        self._browser.close()

    def _ask(self, method: str, path: str, **words: Any) -> requests.Response:
        try:
            return self._browser.request(method, f"{self.base}{path}", timeout=TIMEOUT, **words)
        except requests.RequestException as error:
            raise DrillFailed(
                f"The restored viewer does not answer ({type(error).__name__})."
            ) from error


class _Ended(Exception):
    """`viewer web` ended by itself."""


@contextlib.contextmanager
def visited(scratch: Scratch) -> Iterator[Visitor]:
    """Start `viewer web` on a free port of loopback, log in, and stop it afterwards.

    Raises DrillFailed.
    """
    password = secrets.token_urlsafe(24)
    scratch.run("user", "add", EMAIL, "--role", "owner", "--password-stdin", typed=f"{password}\n")
    with contextlib.ExitStack() as leaving:
        for left in reversed(range(_TRIES)):
            try:
                visitor = leaving.enter_context(_served(scratch))
                break
            except _Ended as ended:
                # Somebody else may have taken the port meanwhile: then another one is free.
                if not left:
                    raise DrillFailed(f"viewer web ended by itself: {ended}") from None
        visitor.log_in(password)
        yield visitor


@contextlib.contextmanager
def _served(scratch: Scratch) -> Iterator[Visitor]:
    """Raises _Ended, DrillFailed."""
    port, said = _free_port(), scratch.folder / "web.log"
    server = scratch.start(
        "web", "--host", "127.0.0.1", "--port", str(port), "--processes", "1", "--threads", "2",
        log_to=said,
    )  # fmt: skip
    with contextlib.closing(Visitor(f"http://127.0.0.1:{port}")) as visitor, server:
        try:
            _wait(server, visitor, port, said)
            yield visitor
        finally:
            _stop(server)


def _wait(server: "subprocess.Popen[str]", visitor: Visitor, port: int, said: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise _Ended(tail(said))
        # Not any answer: a stranger's server may have been quicker to take the port.
        if visitor.has_login_page() and server.poll() is None:
            return
        time.sleep(0.1)
    raise DrillFailed(f"viewer web did not answer on port {port} within {PATIENCE:.0f} s.")


def _stop(server: "subprocess.Popen[str]") -> None:
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
