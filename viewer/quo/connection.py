"""A keep-alive connection to the provider's API: a deadline for each request, errors by meaning.

RestError
  Unreachable   try again later
  Refused       do not retry: the key, the plan or our request is wrong
  NotThere      the provider has no such object

Their `reason` is a sentence for office staff, without numbers, addresses or keys. The key goes to
the one host we were given and nowhere else: redirects are not followed, proxies not used.
"""

import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests.utils

from viewer.loopback import is_loopback
from viewer.quo.dialects import read_json
from viewer.quo.types import NotUnderstood

Params = list[tuple[str, str]]

VERSION = "2026-03-30"
LARGEST_ANSWER = 20_000_000  # bytes

_CHUNK = 64 * 1024


class RestError(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def is_about_one(self) -> bool:
        """Whether a request about another object may succeed."""
        return True


class Unreachable(RestError):
    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after  # seconds, where the provider named a pause

    @property
    def is_about_one(self) -> bool:
        return self.retry_after is None


class Refused(RestError):
    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status

    @property
    def is_about_one(self) -> bool:
        return self.status not in (None, 401)  # the key


class NotThere(RestError):
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    retry_after: str | None


class Connection:
    """A connection kept open between requests.

    Plain http.client: no proxies or .netrc of the environment, no cookies, no redirects.
    """

    def __init__(self, key: str, base: str, seconds: float) -> None:
        parts = urlsplit(base)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(self._host))
        if not is_safe or not self._host or "@" in parts.netloc:
            raise Refused("QUO_API_URL must begin with https:// and name the provider's host.")
        self._tls = parts.scheme == "https"
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")  # many write it with /v1
        self._key, self._seconds = key, seconds
        self._connection: http.client.HTTPConnection | None = None

    def exchange(self, method: str, path: str, params: Params, *, newer: bool) -> Answer:
        """Send a request. Raises Unreachable, at the deadline at the latest."""
        address = self._prefix + path + (f"?{urlencode(params)}" if params else "")
        headers = {
            "Authorization": self._key,  # bare: the provider refuses "Bearer"
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "conversation-viewer",
        }
        if newer:
            headers["Quo-Api-Version"] = VERSION
        with self._watched() as (connection, over):
            connection.request(method, address, headers=headers)
            response = connection.getresponse()
            body = _body(response)
            if over.is_set():  # then the end of the body was our own doing
                raise TimeoutError
            return Answer(response.status, body, response.headers.get("Retry-After"))

    def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[tuple[http.client.HTTPConnection, threading.Event]]:
        """Cut the connection off at the deadline: socket timeouts restart with each byte."""
        over = threading.Event()
        connection = self._connection = self._connection or self._dial()

        def cut() -> None:
            over.set()
            if isinstance(connection.sock, socket.socket):
                with contextlib.suppress(OSError):  # closed already
                    # Not SSLSocket's own, which would forget the encryption.
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

        timer = threading.Timer(self._seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield connection, over
        except Unreachable:
            self.hang_up()
            raise
        except ssl.SSLCertVerificationError:
            self.hang_up()
            raise Unreachable("The phone provider could not prove who it is.") from None
        except TimeoutError:
            self.hang_up()
            raise Unreachable("The phone provider did not answer in time.") from None
        except (OSError, http.client.HTTPException):
            self.hang_up()
            what = "did not answer in time" if over.is_set() else "could not be reached"
            raise Unreachable(f"The phone provider {what}.") from None
        finally:
            timer.cancel()

    def _dial(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        # The authorities that the downloads trust too: a bare server may have none of its own.
        context = ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._seconds, context=context
        )


def _body(response: http.client.HTTPResponse) -> bytes:
    body = bytearray()
    while chunk := response.read(_CHUNK):
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise Unreachable("The phone provider's answer was far too long.")
    if response.length:  # reading in pieces does not mind a body that was cut short
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)


def read_answer(answer: Answer) -> Any:
    status = answer.status
    if 200 <= status < 300:
        try:
            return read_json(answer.body or b"{}")
        except NotUnderstood:
            raise Unreachable("The phone provider's answer was not JSON.") from None
    if status == 401:
        raise Refused("The phone provider does not accept our key (QUO_API_KEY).", status)
    if status == 402:
        raise Refused("The phone provider says that its subscription has expired.", status)
    if status == 403:
        raise Refused("The key or the plan does not allow what we asked the provider for.", status)
    if status in (400, 404, 405, 410, 422):
        raise NotThere(f"The phone provider answered {status}.")
    if status == 429:
        raise Unreachable("The phone provider is asked too often.", _pause(answer.retry_after))
    if status >= 500 or status == 408:
        raise Unreachable(f"The phone provider answered {status}.", _pause(answer.retry_after))
    if 300 <= status < 400:
        # Following it would show our key to somebody else.
        raise Refused("The provider's address (QUO_API_URL) leads to another place.", status)
    raise Refused(f"The phone provider answered {status}.", status)


def _pause(value: str | None) -> float | None:
    return float(value) if value and re.fullmatch(r"[0-9]{1,9}", value) else None
