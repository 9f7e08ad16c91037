"""Notice a PROXY_HOPS that does not fit the proxies in front, by what requests say of them.

Too small, and every client has the proxy's address: they share one rate limit. Too large, and each
client chooses its own. A wrong setting is recorded once an hour, for the alarm on the status page.
"""

import ipaddress
import logging
import math
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, request
from sqlalchemy.exc import SQLAlchemyError

from viewer.config import Settings
from viewer.extensions import db, now, upsert
from viewer.loopback import is_loopback, is_neighbour
from viewer.models import Checkpoint
from viewer.upkeep.health.proxies import CHECKPOINT, Misfit

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

_EVERY = 3600.0  # seconds from one record of this process to its next
_MISFIT = "viewer.proxies.misfit"  # in the environ
_CLIENT = "viewer.proxies.client"  # in the environ: by the nearest proxy's word, for rate limits
_SIGNS = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_X_FORWARDED_PROTO")


class Watch:
    """WSGI middleware, outside ProxyFix: it needs the address of the real peer."""

    def __init__(self, app: Flask, answer: "WSGIApplication", monitors: frozenset[str]) -> None:
        self._app, self._answer, self._monitors = app, answer, monitors
        self._current: Settings = app.config["SETTINGS"]
        self._public_host = urlsplit(self._current.PUBLIC_URL).hostname
        self._recorded_at = -math.inf

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        misfit = self._judge(environ)
        if misfit is not None:
            environ[_MISFIT] = misfit
            environ[_CLIENT] = _named(environ)[-1:]
            self._note(misfit)
        return self._answer(environ, start)

    def _judge(self, environ: "WSGIEnvironment") -> Misfit | None:
        hops, peer = self._current.PROXY_HOPS, environ.get("REMOTE_ADDR", "")
        if not hops:
            is_passed_on = any(sign in environ for sign in _SIGNS) or (
                # A proxy that says nothing of itself, but asks under our name from this machine.
                self._public_host is not None
                and is_loopback(peer)
                and environ.get("HTTP_HOST", "").partition(":")[0] == self._public_host
                and not is_loopback(self._public_host)
            )
            return Misfit.FORGOTTEN if is_passed_on and is_neighbour(peer) else None
        if environ.get("PATH_INFO") in self._monitors:
            return None  # balancers and this machine ask past the proxies
        named = _named(environ)
        if len(named) < hops:
            return Misfit.SURPLUS
        if len(named) > hops and is_neighbour(named[-hops]):
            return Misfit.FORGOTTEN
        return None

    def _note(self, misfit: Misfit) -> None:
        moment = time.monotonic()
        if moment < self._recorded_at + _EVERY:
            return
        self._recorded_at = moment
        log.warning("PROXY_HOPS=%d is wrong: %s", self._current.PROXY_HOPS, misfit.value)
        # By a thread: a request must not wait for SQLite's write lock, nor a delivery.
        words = f"{misfit.value}:{self._current.PROXY_HOPS}"
        threading.Thread(target=self._record, args=(words,), name="proxies", daemon=True).start()

    def _record(self, words: str) -> None:
        values = {"name": CHECKPOINT, "value": words, "updated_at": now()}
        try:
            with self._app.app_context(), db.engine.begin() as connection:
                connection.execute(upsert(_statement, db.engine.dialect.name), values)
        except SQLAlchemyError:
            log.warning("A wrong PROXY_HOPS was not recorded.", exc_info=True)
            self._recorded_at -= _EVERY - 60  # again in a minute


def client_address() -> str | None:
    """The client's address, for rate limits. None if it is only a proxy's, which all clients share.

    Behind a proxy that PROXY_HOPS forgot, what that proxy says is good enough: who forges it evades
    the limit of an address, and still meets that of the account.
    """
    if _MISFIT not in request.environ or not is_neighbour(request.environ.get("REMOTE_ADDR", "")):
        return request.remote_addr
    named: list[str] = request.environ[_CLIENT]
    try:
        return str(ipaddress.ip_address(named[0])) if named else None
    except ValueError:
        return None


def _named(environ: "WSGIEnvironment") -> list[str]:
    listed = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    return [name.strip() for name in listed if name.strip()]


def _statement(insert: Any) -> sa.Insert:
    made: Any = insert(Checkpoint.__table__)
    new = made.excluded
    statement: sa.Insert = made.on_conflict_do_update(
        index_elements=["name"], set_={"value": new.value, "updated_at": new.updated_at}
    )
    return statement
