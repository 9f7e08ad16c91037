"""Deny by default: what may be asked without a session is a short list, and nothing slips past it.

Nothing here names the routes that are there: whoever adds one is tested without being told so.
"""

import contextvars
import inspect
import itertools
import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from flask import Flask, redirect
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.routing import Rule

from tests.conftest import BOTH
from tests.payloads import load
from tests.support.pictures import picture
from tests.support.routes import PLACE
from viewer import create_app
from viewer.extensions import db, now
from viewer.models import ApiToken, User, fingerprint
from viewer.office import accounts
from viewer.web import access, middleware

Role = User.Role
Scope = ApiToken.Scope

# Whoever opens another door says so here, too, and why strangers may come in by it.
OPEN = {
    "static",  # the same for everybody
    "sheets",
    "webhooks.receive",  # its signature
    "status.healthz",  # whether, never what
    "accounts.account.login",
    "accounts.account.enter",
    "accounts.account.invitation",  # its token
    "accounts.account.accept",
    "accounts.second_step.ask",  # the right password, just before
    "accounts.second_step.check",
    "accounts.second_step.passkey_options",  # a number by chance
    "accounts.second_step.use_passkey",  # its signature
    "api.description",  # of operations, not of anybody
    "conversations.offline.worker",  # programs and names, of nobody
    "conversations.offline.manifest",
    "sharing.public.page",  # these: the link's own secret
    "sharing.public.unlock",
    "sharing.public.one",
    "sharing.public.thumbnail",
    "sharing.public.picture",
    "sharing.public.play",
    "sharing.public.download",
}
# Who may come in by each of the other doors. A route that is in no list fails the tests.
NEEDED = {
    role: words.split()
    for role, words in {
        Role.FIELD: """
        accounts.account.add_token accounts.account.change_password accounts.account.end_device
        accounts.account.end_everywhere accounts.account.know_devices accounts.account.logout
        accounts.account.revoke_token accounts.account.show
        accounts.confirm.ask accounts.confirm.check accounts.confirm.passkey_options
        accounts.factors.add_app accounts.factors.add_passkey accounts.factors.app
        accounts.factors.new_codes accounts.factors.passkey_options accounts.factors.remove_app
        accounts.factors.remove_passkey
        api.delete_link api.get_conversation api.get_media api.get_original api.get_record
        api.list_conversations api.list_media api.list_records api.put_link
        conversations.inbox.mark_unread conversations.inbox.read_all conversations.inbox.show
        conversations.inbox.undo_read_all conversations.live.conversation conversations.live.inbox
        conversations.offline.pack conversations.offline.show conversations.pages.at_message
        conversations.pages.show
        media.details.caption media.details.passport media.files.full media.files.original
        media.files.playable media.files.preview media.files.thumbnail media.gallery.everything
        media.gallery.ids media.gallery.of_conversation media.gallery.pictures media.gallery.zip
        media.player.set_rate media.slides.of_conversation
        search.show
        work.evidence.download work.evidence.newest work.evidence.show work.linking.arrange
        work.linking.choose work.linking.link work.linking.pick work.linking.undo_link
        work.linking.unlink work.records.index work.records.of_conversation work.records.pictures
        work.records.show work.unfiled.needed work.unfiled.not_needed work.unfiled.show
    """,
        Role.OFFICE: """
        conversations.held.consent conversations.held.set_consent
        media.closing.accept media.closing.ask media.closing.close media.closing.refuse
        media.closing.rejected media.closing.reopen media.closing.take_back_acceptance
        media.details.check media.files.retry media.trash.put_in_trash media.trash.restore
        media.trash.show media.trash.thumbnail
        sharing.manage.create sharing.manage.index sharing.manage.new sharing.manage.revoke
        sharing.manage.show
        status.event status.read_again status.show
        work.evidence.check_all work.linking.new_quote work.records.archive
        work.records.choose_customer work.records.create work.records.edit work.records.go_on
        work.records.new work.records.save work.records.step work.records.unarchive
    """,
        Role.OWNER: """
        accounts.audit_log.index accounts.users.add accounts.users.change accounts.users.disable
        accounts.users.enable accounts.users.index accounts.users.invite
        accounts.users.reset_factor accounts.users.show
        conversations.held.archive conversations.held.forget conversations.held.receipts
        conversations.held.revoke conversations.held.show
        media.trash.purge
        status.metrics
    """,
    }.items()
}
# And what a program's token needs there: one of these scopes. No token opens any other route.
SCOPES = {
    "api.list_conversations": {Scope.READ},
    "api.get_conversation": {Scope.READ},
    "api.list_media": {Scope.READ},
    "api.get_media": {Scope.READ},
    "api.get_original": {Scope.READ},
    "api.list_records": {Scope.READ},
    "api.get_record": {Scope.READ},
    "api.put_link": {Scope.LINK, Scope.WRITE},
    "api.delete_link": {Scope.LINK, Scope.WRITE},
    "status.metrics": {Scope.METRICS},
}
# Of whom no form token is asked before they proved otherwise that they may ask.
SIGNED = {
    "webhooks.receive",  # its signature
    "sharing.public.unlock",  # the link's secret; then it asks for the token, too
}
# What looking, and knocking in vain, may write down.
NOTED = {
    "user_sessions",  # when a session was last used
    "api_tokens",  # the same
    "unread",  # a conversation that was opened is read
    "shares",  # how often it was looked at
    "audit_entries",  # that it was
    "refused_deliveries",  # that a delivery had no signature
    "passkey_challenges",  # asked for before a passkey is used
    "throttles",  # how often somebody guessed at the secret of a link
}
SECRET_WORDS = "only the staff may read this"
EXPECTED = (200, 301, 302, 303, 304, 308, 400, 401, 403, 404, 405, 410, 422, 425, 429)
HOSTILE = (
    "0", "-1", "9" * 30, "..", "../..", "..%2f..%2fetc%2fpasswd", "%00", "%0d%0aX-A: b", "é", "'",
    "<script>", "{{7*7}}", "x" * 3_000, "%ff", "null", "a/b", ";", "\\", "%5c%5cevil.example",
)  # fmt: skip


@pytest.fixture
def something(
    app: Flask, deliver: Any, message: Any, provider: Any, work: Any, log_in: Any
) -> list[str]:
    """A photo and its conversation, a file that failed, an event nobody understood: one id each."""
    log_in("owner")
    photo = {"url": provider.serve(picture(90, 60, "teal")), "type": "image/jpeg"}
    lost = {"url": provider.serve(b"", status=404), "type": "image/jpeg"}
    deliver(message(text=SECRET_WORDS, media=[photo, lost]).payload())
    deliver(load("d3_call_transcript"))
    deliver({"id": "EVodd", "type": "message.received", "data": SECRET_WORDS})
    work()
    db.session.close()
    ids = [
        str(row_id)
        for table in db.metadata.sorted_tables
        if "id" in table.c and isinstance(table.c.id.type, sa.Uuid)
        for row_id in db.session.scalars(
            sa.select(table.c.id).limit(2 if "media" in table.name else 1)
        )
    ]
    db.session.close()
    assert len(ids) > 5
    return ids


def ask(client: FlaskClient, method: str, path: str, **headers: str) -> Any:
    """As a server would: each request in a context of its own. Never a crash."""

    def whole() -> Any:
        # Not client.open(): it would add the form token by itself.
        answer = FlaskClient.open(
            client, path, method=method, headers={"Accept": "text/html", **headers}
        )
        assert answer.data is not None
        answer.close()
        return answer

    answer = contextvars.Context().run(whole)
    assert answer.status_code != 500, f"{method} {path}: {answer.status}"
    return answer


def rules(app: Flask) -> Iterator[tuple[Rule, str]]:
    """Every route, with every method; in a test that adds one, that one.

    Not OPTIONS: it says which methods an address has, and of two routes there the first answers.
    """
    everywhere = list(app.url_map.iter_rules())
    for rule in [rule for rule in everywhere if rule.endpoint == "new"] or everywhere:
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            yield rule, method


def addresses(rule: Rule, ids: list[str]) -> Iterator[str]:
    """The rule's addresses with each of these ids; where it takes certain words, with those."""
    words = [place["words"] for place in PLACE.finditer(rule.rule) if place["kind"] == "any"]
    takes_ids = len(words) < len(PLACE.findall(rule.rule))
    for word in words[0].split(",") if words else [""]:
        for one in ids if takes_ids else [""]:

            def fill(place: re.Match[str], word: str = word, one: str = one) -> str:
                return {"any": word, "path": "css/base.css"}.get(place["kind"], one)

            yield PLACE.sub(fill, rule.rule)


def writes(method: str) -> bool:
    return method not in ("GET", "HEAD", "OPTIONS")


def test_the_list_of_open_doors_is_the_one_agreed_on(app):
    assert access.OPEN <= OPEN


def test_each_route_is_for_whom_it_was_agreed_on(app):
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()} - OPEN

    with app.app_context():
        found = {name: access.needed_role(name) for name in endpoints}
        scopes = {name: access.needed_scopes(name) for name in endpoints}

    assert found == {name: role for role, names in NEEDED.items() for name in names}
    assert {name: kinds for name, kinds in scopes.items() if kinds} == SCOPES


def test_a_stranger_sees_nothing_and_changes_nothing_anywhere(app, something):
    before = everything()
    stranger, seen = app.test_client(), set()
    for rule, method in rules(app):
        for address in addresses(rule, [*something, str(uuid.uuid4())]):
            answer = ask(stranger, method, address)
            assert SECRET_WORDS.encode() not in answer.data
            assert answer.mimetype != "image/jpeg"
            if rule.endpoint in OPEN:
                continue
            is_page = method in ("GET", "HEAD") and answer.status_code == 302
            if is_page:
                assert answer.location.startswith("/login"), address
            else:
                assert answer.status_code == 401, f"{method} {address}: {answer.status}"
            seen.add(rule.endpoint)

    assert seen == {rule.endpoint for rule, _ in rules(app)} - OPEN
    assert everything() == before


@pytest.mark.proof
@pytest.mark.parametrize("role", list(Role))
def test_each_role_comes_as_far_as_it_should_and_no_further(role, app, something, log_in):
    """Asked to write, with a right form token and right ids, whoever may not changes nothing."""
    someone, before, refused, let_in = log_in(role), everything(), set(), set()
    token = {"X-CSRFToken": someone.form_token}
    nobody = str(uuid.uuid4())
    for rule, method in rules(app):
        if rule.endpoint in OPEN:
            continue
        may = role.covers(needed_role(rule.endpoint))
        # What they may write is tested where it is made; here it would only spoil the rest.
        ids = [nobody] if may and writes(method) else [*something, nobody]
        if may and writes(method) and nobody not in next(addresses(rule, [nobody])):
            continue
        for address in addresses(rule, ids):
            answer = ask(someone, method, address, **token)
            is_refused = answer.status_code == 403
            if access_by_token(rule):
                assert answer.status_code == 401, f"{method} {address}: {answer.status}"
            elif not may:
                assert is_refused, f"{method} {address}: {answer.status}"
                assert SECRET_WORDS.encode() not in answer.data
            else:
                assert answer.status_code != 401, f"{method} {address}: {answer.status}"
                assert not is_refused, f"{method} {address}: {answer.status}"
            (refused if is_refused else let_in).add(rule.endpoint)

    assert let_in
    assert bool(refused) == (role is not Role.OWNER)
    assert everything() == before


def access_by_token(rule: Rule) -> bool:
    return rule.endpoint.partition(".")[0] in access.BEARERS


def needed_role(endpoint: str) -> Role:
    [role] = [role for role, names in NEEDED.items() if endpoint in names]
    return role


@pytest.mark.parametrize("scope", [None, *Scope])
@pytest.mark.parametrize("role", list(Role))
def test_each_token_comes_as_far_as_its_scope_and_its_users_role(role, scope, app, something):
    """Asked to write, with right ids, whatever may not changes nothing."""
    user = accounts.add("crm@crack.example", role)
    scopes = [scope] if scope else []
    token = ApiToken(user_id=user.id, fingerprint=fingerprint("x"), name="CRM", scopes=scopes)
    db.session.add(token)
    db.session.commit()
    program, before, let_in = app.test_client(), everything(), set()
    nobody = str(uuid.uuid4())
    for rule, method in rules(app):
        if rule.endpoint in OPEN:
            continue
        takes_tokens = rule.endpoint in SCOPES
        may = scope in SCOPES.get(rule.endpoint, ()) and role.covers(needed_role(rule.endpoint))
        # What it may write is tested where it is made.
        ids = [nobody] if (may and writes(method)) or not takes_tokens else [*something, nobody]
        for address in addresses(rule, ids):
            answer = ask(program, method, address, Authorization="Bearer x")
            status = answer.status_code
            if may:
                assert status not in (401, 403), f"{method} {address}: {status}"
                let_in.add(rule.endpoint)
            elif takes_tokens:
                assert status == 403, f"{method} {address}: {status}"
            else:
                assert status in (302, 401), f"{method} {address}: {status}"
            assert may or SECRET_WORDS.encode() not in answer.data

    assert bool(let_in) == (scope in SCOPES_OF[role])
    assert everything() == before


SCOPES_OF = {
    Role.FIELD: {Scope.READ, Scope.LINK, Scope.WRITE},
    Role.OFFICE: {Scope.READ, Scope.LINK, Scope.WRITE},
    Role.OWNER: {Scope.READ, Scope.LINK, Scope.WRITE, Scope.METRICS},
}


def test_a_new_route_of_the_api_opens_to_no_token_that_it_does_not_name(app, api):
    app._got_first_request = False
    app.add_url_rule("/api/v1/new", "api.new", lambda: "secret")

    answer = api("/new")

    assert answer.status_code == 403
    assert "no token has" in answer.json["message"]


@pytest.mark.proof
def test_no_route_writes_without_a_form_token(app, something, log_in):
    owner, before, tried = log_in("owner"), everything(), set()
    for rule, method in rules(app):
        if not writes(method) or rule.endpoint in SIGNED:
            continue
        for address in addresses(rule, [*something, str(uuid.uuid4())]):
            for headers in ({}, {"X-CSRFToken": "x"}, {"X-CSRFToken": owner.form_token + "x"}):
                answer = ask(owner, method, address, **headers)
                expected = 401 if access_by_token(rule) else 400
                assert answer.status_code == expected, f"{method} {address}: {answer.status}"
        tried.add(rule.endpoint)

    assert tried
    assert everything() == before


@pytest.mark.proof
def test_what_is_only_looked_at_changes_nothing(app, something, log_in):
    """So no link, no preview and no picture's address can log out, delete or send anything."""
    owner, before = log_in("owner"), everything()
    for rule, method in rules(app):
        if method != "GET":
            continue
        for address in addresses(rule, something):
            ask(owner, "GET", address, **{"X-CSRFToken": owner.form_token})

    assert everything() == before
    assert ask(owner, "GET", "/status").status_code == 200


def everything() -> dict[str, list[Any]]:
    """Every row of every table, but for those that looking may change."""
    db.session.close()
    found = {
        table.name: sorted(str(row) for row in db.session.execute(sa.select(table)))
        for table in db.metadata.sorted_tables
        if table.name not in NOTED
    }
    db.session.close()
    return found


@pytest.mark.proof
@pytest.mark.parametrize("role", [None, Role.OWNER])
def test_no_id_that_cannot_be_breaks_anything(role, app, something, log_in):
    someone = log_in(role) if role else app.test_client()
    token = {"X-CSRFToken": someone.form_token} if role else {}
    for rule, method in rules(app):
        if method in ("HEAD", "OPTIONS") or rule.endpoint in ("static", "sheets"):
            continue
        if not any(place["kind"] != "any" for place in PLACE.finditer(rule.rule)):
            continue
        for address in addresses(rule, [quote(one, safe="/%.\\;'") for one in HOSTILE]):
            answer = ask(someone, method, address, **token)
            assert answer.status_code in EXPECTED, address
            assert answer.status_code != 200, f"{method} {address}"
            assert SECRET_WORDS.encode() not in answer.data


QUERIES = (
    "before=-1", "before=" + "9" * 40, "before=nan_x", "before=inf_x", "before=%00", "after=%00",
    "q=%00", "q=" + "x" * 9_000, "show=../..", "page=-1", "q=%22%20OR%201=1", "since=%ff",
    "who=%00", "next=//evil.example", "around=x", "place=-1", "record=x", "media=x&media=%00",
)  # fmt: skip
# Values that fit no column of ours.
MISFITS = ("%00", "0001-01-01T00:00:00%2B05:00", f"1_{'0' * 32}_{'9' * 40}_{'0' * 32}")


@pytest.mark.proof
@BOTH
def test_no_query_breaks_a_page(app, something, log_in):
    owner, asked = log_in("owner"), set()
    for rule, method in rules(app):
        if method == "GET" and rule.endpoint not in ("static", "sheets"):
            names = names_in(app.view_functions[rule.endpoint])
            misfits = [f"{name}={value}" for name, value in itertools.product(names, MISFITS)]
            asked |= names
            for address in addresses(rule, something[:1]):
                for query in (*QUERIES, *misfits):
                    ask(owner, "GET", f"{address}?{query}")
    assert {"before", "line", "sender", "as_of"} <= asked


def names_in(view: Callable[..., Any]) -> set[str]:
    """What the module of this view reads from an address, by itself or with our readers' help."""
    module = inspect.getmodule(inspect.unwrap(view))
    source = inspect.getsource(module) if module else ""
    names = set(re.findall(r'(?:args|values|given)\.get(?:list)?\("(\w+)"', source))
    for reader, read in (
        ("viewer.web.date_range", {"since", "until"}),
        (
            "viewer.web.media.gallery_filters",
            {"kind", "filed", "state", "sender", "since", "until"},
        ),
    ):
        names |= read if f"from {reader} import" in source else set()
    return names


def test_what_is_not_stored_or_was_thrown_away_is_not_served(app, something, log_in):
    client = log_in("field")
    table = db.metadata.tables["media_attachments"]
    rows = db.session.execute(sa.select(table.c.id, table.c.state)).all()
    db.session.close()
    for media_id, state in rows:
        if state == "stored":
            trashed = {"state": "trashed", "trashed_at": now()}
            db.session.execute(sa.update(table).filter_by(id=media_id).values(trashed))
            db.session.commit()
        for rule, method in rules(app):
            if method == "GET" and "media_id" in rule.arguments:
                [address] = addresses(rule, [str(media_id)])
                answer = ask(client, "GET", address)
                assert answer.mimetype in ("text/html", "text/plain", "application/json"), address
                if rule.endpoint.startswith("media.files."):
                    assert answer.status_code in (404, 410, 425), address


# -- a route that somebody adds --------------------------------------------------------------------


@pytest.fixture
def add_route(app: Flask) -> Callable[..., None]:
    """As if it were written in the code."""

    def add(view: Callable[[], str], *methods: str) -> None:
        app._got_first_request = False
        app.add_url_rule("/new", "new", view, methods=methods or None)

    return add


def test_a_new_route_asks_for_a_session_without_being_told_so(app, add_route):
    add_route(lambda: "secret", "GET", "POST")
    stranger = app.test_client()

    assert ask(stranger, "GET", "/new").location == "/login?next=/new"
    assert ask(stranger, "POST", "/new").status_code == 401


def test_a_new_open_route_is_noticed(app, monkeypatch, something, add_route):
    add_route(lambda: "secret")
    monkeypatch.setattr(access, "OPEN", access.OPEN | {"new"})

    with pytest.raises(AssertionError, match="frozenset"):
        test_the_list_of_open_doors_is_the_one_agreed_on(app)
    with pytest.raises(AssertionError, match="GET /new: 200 OK"):
        test_a_stranger_sees_nothing_and_changes_nothing_anywhere(app, something)


def test_a_new_route_that_is_exempt_from_the_form_token_is_noticed(
    app, something, log_in, add_route
):
    def new() -> str:
        return "done"

    add_route(access.csrf.exempt(new), "POST")

    with pytest.raises(AssertionError, match="POST /new: 200 OK"):
        test_no_route_writes_without_a_form_token(app, something, log_in)


def test_a_new_page_that_writes_is_noticed(app, something, log_in, add_route):
    def new() -> str:
        access.begin_writing()
        db.session.execute(sa.update(db.metadata.tables["conversations"]).values(participants="x"))
        db.session.commit()
        return "done"

    add_route(new)

    with pytest.raises(AssertionError, match="conversations"):
        test_what_is_only_looked_at_changes_nothing(app, something, log_in)


# -- where one wanted to go ------------------------------------------------------------------------

ELSEWHERE = (
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
    "/\n/evil.example", "/\r\nSet-Cookie: a=b", "https:evil.example", "https://evil.example",
    "http:/evil.example", "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x",
    "evil.example", "@evil.example", ".evil.example", " //evil.example", "\u00a0//evil.example",
    "/ /evil.example", "/\\/evil.example", "\x00/", "/\x00", "?next=x", "#", "", "/" + "x" * 5_000,
    "//user@evil.example", "/\u2028/x\\", "/a\\..\\..\\evil.example",
)  # fmt: skip
HERE = (
    "/", "/status", "/conversations/x?before=1_2#message-3", "/%0d%0aSet-Cookie:%20a=b",
    "/%5cevil.example", "/%2f%2fevil.example", "/a//evil.example", "/?next=https://evil.example",
    "/é",
)  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("wanted", ELSEWHERE + HERE)
def test_after_the_login_one_stays_on_this_host(wanted, app, log_in):
    client = log_in("field")

    answer = contextvars.Context().run(
        FlaskClient.get, client, "/login", query_string={"next": wanted}
    )

    assert answer.status_code == 302
    if wanted in ELSEWHERE:
        assert answer.location == "/"
    else:
        assert answer.location == quote(wanted, safe="/?=&%#:_")
        assert not answer.location.startswith(("//", "/\\"))
    assert "a=b" not in str(answer.headers.getlist("Set-Cookie"))


# -- hosts, proxies, headers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", "viewer.example.evil.example", "viewer.example@evil.example", "[::1", "a b",
     "évil.example", "..", "viewer.example/", "127.0.0.1"],
)  # fmt: skip
def test_a_host_that_is_not_ours_gets_no_page(host, settings, app):
    ours = create_app(settings | {"TRUSTED_HOSTS": "viewer.example"}).test_client()

    for path in ("/", "/login", "/healthz", "/status", "/nowhere"):
        answer = ask_host(ours, path, host)
        assert answer.status_code == 400, path
        assert "evil" not in str(answer.headers)
    assert ask_host(ours, "/login", "viewer.example").status_code == 200


@pytest.mark.parametrize("hops", [0, 1])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
@pytest.mark.parametrize("trusted", ["viewer.example", ".viewer.example,other.example"])
def test_a_monitor_on_this_machine_is_answered_whatever_hosts_are_trusted(
    host, trusted, hops, settings, app
):
    given = settings | {"TRUSTED_HOSTS": trusted, "PROXY_HOPS": hops}
    ours = create_app(given).test_client()

    for peer, is_admitted in (("127.0.0.1", True), ("::1", True), ("203.0.113.9", False)):
        answer = ask_host(ours, "/healthz", host, peer)
        assert (answer.status_code != 400, answer.is_json) == (is_admitted, is_admitted)
        assert ask_host(ours, "/login", host, peer).status_code == 400
    assert ask_host(ours, "/metrics", host, "127.0.0.1").status_code in (302, 401)
    assert ask_host(ours, "/healthz", "evil.example", "127.0.0.1").status_code == 400


def test_what_a_proxy_on_this_machine_passes_on_is_no_monitor(settings, app):
    given = settings | {"TRUSTED_HOSTS": "viewer.example", "PROXY_HOPS": 1}
    ours = create_app(given).test_client()

    def is_answered(host: str) -> bool:
        headers = {"X-Forwarded-Host": host, "X-Forwarded-For": "203.0.113.9"}
        return contextvars.Context().run(ours.get, "/healthz", headers=headers).is_json

    assert is_answered("viewer.example")
    assert not is_answered("evil.example")
    assert not is_answered("127.0.0.1")


def ask_host(client: FlaskClient, path: str, host: str, peer: str = "203.0.113.9") -> Any:
    environ = {"HTTP_HOST": host.encode().decode("latin-1"), "REMOTE_ADDR": peer}
    return contextvars.Context().run(client.get, path, environ_overrides=environ)


@pytest.mark.parametrize(
    "name", ["Host", "Proto", "Port", "Prefix", "Server", "For", "Scheme", "Ssl"]
)
def test_without_a_proxy_nothing_is_believed_that_only_a_proxy_may_say(name, app, log_in):
    forged = Headers({f"X-Forwarded-{name}": "https", "Forwarded": "host=evil.example;proto=https"})
    answer = contextvars.Context().run(
        app.test_client().get, "/status", headers={**forged, "Accept": "text/html"}
    )

    assert answer.location == "/login?next=/status"


WHERE = {
    "a page": "/", "the login": "/login", "an error": "/nowhere", "a style": None,
    "no such file": "/static/x", "a method": "/logout", "health": "/healthz", "metrics": "/metrics",
    "an event": "/status/events/x", "a redirect": "/users/", "an invitation": "/invitations/x",
}  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("role", [None, "owner"])
def test_every_answer_is_fenced_in(where, role, app, log_in):
    client = log_in(role) if role else app.test_client()
    path = WHERE[where] or f"{app.static_url_path}/css/base.css"

    for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
        assert_fenced(ask(client, method, path))


def assert_fenced(answer: Any) -> None:
    headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-" not in policy
    assert not re.search(r"script-src (?!'self'(;|$))", policy)
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] in ("same-origin", "no-referrer")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    for name in set(headers.keys()):
        assert len(headers.getlist(name)) == 1 or name == "Set-Cookie"


@pytest.mark.parametrize("path", ["/api/v1/media", "/api/v1/openapi.json", "/api/v1/nothing"])
def test_what_programs_get_is_no_page_for_a_browser(app, path):
    answer = app.test_client().get(path, headers={"Accept": "text/html"})

    assert answer.mimetype == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="api.json"'


def test_an_answer_to_a_crash_is_fenced_in_and_tells_nothing(app, monkeypatch):
    def crash() -> str:
        raise RuntimeError(SECRET_WORDS)

    app._got_first_request = False
    app.add_url_rule("/crash", "crash", crash)
    app.add_url_rule("/away", "away", lambda: redirect("/", 302))
    monkeypatch.setattr(access, "OPEN", access.OPEN | {"crash", "away"})
    client = app.test_client()

    for path, status in (("/crash", 500), ("/away", 302)):
        answer = contextvars.Context().run(client.get, path, headers={"Accept": "text/html"})
        assert answer.status_code == status
        assert SECRET_WORDS not in answer.text
        assert_fenced(answer)


def test_files_are_sandboxed_and_run_no_script(app, something, log_in):
    client = log_in("field")
    seen = set()
    for rule, method in rules(app):
        if method == "GET" and "media_id" in rule.arguments:
            for address in addresses(rule, something):
                answer = ask(client, "GET", address)
                if answer.status_code == 200 and answer.mimetype not in ("text/html",):
                    policy = answer.headers["Content-Security-Policy"]
                    assert policy.startswith("sandbox; default-src 'none'")
                    assert "script-src" not in policy
                    assert "allow-" not in policy
                    assert answer.headers["X-Content-Type-Options"] == "nosniff"
                    seen.add(rule.endpoint)

    assert {"media.files.original", "media.files.thumbnail", "media.files.preview"} <= seen


def test_the_policy_of_pages_allows_nothing_that_is_unsafe():
    assert "unsafe" not in middleware.POLICY
    assert "*" not in middleware.POLICY
    assert "http" not in middleware.POLICY


def test_a_form_of_an_earlier_login_is_told_in_words(log_in):
    someone = log_in("field")

    answer = ask(someone, "POST", "/logout", **{"X-CSRFToken": "old"})

    assert answer.status_code == 400
    assert "nothing was done" in answer.text
    assert ask(someone, "GET", "/account").status_code == 200


def test_a_stranger_who_wants_no_page_is_told_in_a_line(app):
    answer = app.test_client().get("/status", headers={"Accept": "application/json"})

    assert (answer.status_code, answer.mimetype) == (401, "text/plain")
    assert answer.text == "Log in first.\n"


def test_a_page_of_files_and_a_delivery_cost_no_look_at_the_sessions(app, log_in, deliver):
    client, seen = log_in("field"), []
    sa.event.listen(
        db.engine, "before_cursor_execute", lambda _c, _u, words, *_: seen.append(words)
    )

    ask(client, "GET", f"{app.static_url_path}/css/base.css")
    assert seen == []
    ask(app.test_client(), "GET", "/healthz")
    assert not any("user_sessions" in words for words in seen)
