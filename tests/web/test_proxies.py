"""A PROXY_HOPS that does not fit the proxies in front is seen, said, and locks nobody out."""

import contextvars
import threading

import pytest
import sqlalchemy as sa

from viewer import create_app
from viewer.extensions import db
from viewer.models import Checkpoint, Throttle, User
from viewer.office import accounts
from viewer.upkeep import health
from viewer.upkeep.health.proxies import CHECKPOINT

PUBLIC = "https://photos.example"
CLIENT, STRANGER, PROXY = "203.0.113.7", "198.51.100.9", "172.18.0.1"


def ask(app, path="/login", peer=PROXY, host="photos.example", forwarded=None, **headers):
    """A request as the server got it: from this peer, under this name."""
    if forwarded is not None:
        headers["X-Forwarded-For"] = forwarded
    environ = {"REMOTE_ADDR": peer, "HTTP_HOST": host}
    client = app.test_client()
    return contextvars.Context().run(client.get, path, headers=headers, environ_overrides=environ)


def alarm():
    """The words of the alarm, once everything that was seen is recorded."""
    for thread in threading.enumerate():
        if thread.name == "proxies":
            thread.join()
    db.session.rollback()
    db.session.expire_all()
    found = health.read_health({}).alarms
    db.session.rollback()  # else nobody else could write
    return next((one.words for one in found if one.name == "proxy_hops"), None)


@pytest.fixture
def settings(settings):
    return settings | {"PUBLIC_URL": PUBLIC}


@pytest.mark.parametrize(
    ("hops", "request_", "words"),
    [
        (0, {"forwarded": CLIENT}, "that PROXY_HOPS does not count"),
        (0, {"peer": "127.0.0.1", "X-Real-IP": CLIENT}, "that PROXY_HOPS does not count"),
        (0, {"peer": "", "X-Forwarded-Proto": "https"}, "that PROXY_HOPS does not count"),
        (0, {"peer": "127.0.0.1"}, "that PROXY_HOPS does not count"),  # it says nothing of itself
        (1, {"forwarded": f"{CLIENT}, 10.0.0.2"}, "that PROXY_HOPS does not count"),
        (2, {"forwarded": CLIENT}, "fewer reverse proxies than PROXY_HOPS"),
        (1, {"peer": CLIENT}, "fewer reverse proxies than PROXY_HOPS"),
        # As it should be, or what nobody can tell.
        (0, {"peer": CLIENT}, None),
        (0, {"peer": CLIENT, "forwarded": STRANGER}, None),  # anybody's words
        (0, {"peer": "127.0.0.1", "host": "127.0.0.1:8000"}, None),
        (0, {"peer": "192.168.1.20"}, None),
        (1, {"forwarded": CLIENT}, None),
        (1, {"forwarded": f"10.0.0.2, {CLIENT}"}, None),
        (1, {"forwarded": "192.168.1.20"}, None),
        (2, {"forwarded": f"{CLIENT}, {STRANGER}"}, None),
        (1, {"peer": "127.0.0.1", "path": "/healthz", "host": "localhost"}, None),
    ],
)
def test_a_wrong_number_of_hops_is_an_alarm(hops, request_, words, settings, app):
    ask(create_app(settings | {"PROXY_HOPS": hops}), **request_)
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update={"PROXY_HOPS": hops})

    found = alarm()

    assert (words in found) if words else found is None


def test_the_alarm_ends_with_the_setting_and_is_recorded_once_an_hour(settings, app):
    forgotten = create_app(settings)
    ask(forgotten, forwarded=CLIENT)
    assert alarm()
    db.session.execute(sa.delete(Checkpoint).filter_by(name=CHECKPOINT))
    db.session.commit()
    ask(forgotten, forwarded=CLIENT)
    assert alarm() is None
    ask(create_app(settings), forwarded=CLIENT)
    assert alarm()

    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update={"PROXY_HOPS": 1})

    assert alarm() is None


@pytest.mark.parametrize("says_who", [True, False])
def test_guesses_through_a_forgotten_proxy_lock_nobody_else_out(says_who, app, client):
    password = accounts.hash_password("two cracks in the wall")
    for number in range(6):
        accounts.add(f"user{number}@crack.example", User.Role.FIELD, password_hash=password)
    db.session.commit()

    def log_in(name, address, word="guess"):
        browser, headers = app.test_client(), {"X-Forwarded-Proto": "https"}
        if says_who:
            headers["X-Forwarded-For"] = address
        environ = {"REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "photos.example"}

        def post():
            page = browser.get("/login", headers=headers, environ_overrides=environ).text
            token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
            form = {"email": name, "password": word, "csrf_token": token}
            return browser.post("/login", data=form, headers=headers, environ_overrides=environ)

        return contextvars.Context().run(post).status_code

    guesses = [log_in(f"user{number % 5}@crack.example", STRANGER) for number in range(31)]
    db.session.rollback()

    assert set(guesses) == {401} if not says_who else {401, 429}
    assert log_in("user5@crack.example", CLIENT, "two cracks in the wall") == 303
    keys = {key.partition(":")[0] for key in db.session.scalars(sa.select(Throttle.key))}
    assert ("address" in keys) is says_who
