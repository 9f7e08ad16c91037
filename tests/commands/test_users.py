"""`viewer user …` and `viewer token …`: who may come in, from the shell."""

import re
from datetime import timedelta

import pytest
from click.testing import CliRunner

from viewer import create_app
from viewer.commands import viewer
from viewer.config import Settings
from viewer.extensions import db, now
from viewer.models import ApiToken, AuditEntry, Passkey, Throttle, User, UserSession
from viewer.office import accounts, throttle

PASSWORD = "a crack in the wall"


@pytest.fixture
def run(settings, monkeypatch, tmp_path):
    """A command, as in a shell of its own; its exit code and what it says."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret_key").touch()  # an installation that was in use: it says nothing of itself

    def do(*words, typed=None, command="user"):
        result = CliRunner().invoke(viewer, [command, *words], input=typed)
        return result.exit_code, result.output

    return do


@pytest.fixture
def look(settings):
    """What the database says afterwards."""

    def at(email="olivia@crack.example"):
        with create_app(settings).app_context():
            found = accounts.find_user(email)
            db.session.expunge_all()
            db.session.remove()
            db.engine.dispose()
        return found

    return at


@pytest.fixture
def olivia(run):
    code, words = run(
        "add", "Olivia@crack.example", "--role", "owner", "--password-stdin", typed=f"{PASSWORD}\n"
    )
    assert (code, words) == (0, "olivia@crack.example is a user with the role owner\n")


def test_somebody_is_let_in(olivia, look):
    found = look()

    assert found.role is User.Role.OWNER
    assert accounts.password_matches(found.password_hash, PASSWORD)


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("add", "olivia@crack.example"), PASSWORD, "already"),
        (("add", "olivia"), PASSWORD, "not an e-mail address"),
        (("add", "fay@crack.example"), "short", "12 to 128 characters"),
        (("add", "fay@crack.example", "--role", "king"), PASSWORD, "is not one of"),
        (("password", "fay@crack.example"), PASSWORD, "There is no user"),
        (("password", "olivia@crack.example"), "short", "12 to 128 characters"),
    ],
)
def test_what_cannot_be_is_one_clear_line(words, typed, said, olivia, run, look):
    code, output = run(*words, "--password-stdin", typed=typed)

    assert code != 0
    assert said in output
    assert "Traceback" not in output
    assert PASSWORD not in output
    assert look("fay@crack.example") is None


def test_the_last_owner_is_not_disabled(olivia, run, look):
    code, output = run("disable", "olivia@crack.example")

    assert code == 1
    assert "only owner" in output
    assert look().is_enabled


def test_everybody_is_listed(olivia, run):
    run("add", "fay@crack.example", "--name", "Fay", "--password-stdin", typed=PASSWORD)
    run("disable", "fay@crack.example")

    assert run("list") == (
        0, "fay@crack.example\tfield\tdisabled\tFay\nolivia@crack.example\towner\tenabled\t\n",
    )  # fmt: skip
    assert run("enable", "fay@crack.example") == (0, "fay@crack.example is enabled\n")
    assert "fay@crack.example\tfield\tenabled" in run("list")[1]


def test_a_new_password_ends_sessions_and_the_wait_of_strangers(olivia, run, settings):
    app = create_app(settings)
    with app.app_context():
        user = accounts.find_user("olivia@crack.example")
        db.session.add(UserSession(user_id=user.id, fingerprint="x"))
        throttle.count_attempt(accounts.strangers(user.email))
        db.session.commit()

    assert run("password", "olivia@crack.example", "--password-stdin", typed="two of them now") == (
        0, "olivia@crack.example has a new password\n",
    )  # fmt: skip

    with app.app_context():
        assert db.session.query(UserSession).count() == db.session.query(Throttle).count() == 0
        assert accounts.password_matches(
            accounts.find_user("olivia@crack.example").password_hash, "two of them now"
        )
        db.session.rollback()
        db.session.remove()
        db.engine.dispose()


def test_an_invitation_is_a_link_that_opens(olivia, run, settings):
    code, output = run("invite", "olivia@crack.example")
    [path] = re.findall(r"once: (/invitations/\S+)", output)
    app = create_app(settings)

    assert code == 0
    answer = app.test_client().get(path)
    assert answer.status_code == 200
    assert "olivia@crack.example" in answer.text
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def test_an_invitation_is_a_whole_address_where_ours_is_known(olivia, run, monkeypatch):
    without = run("invite", "olivia@crack.example")[1]
    monkeypatch.setenv("PUBLIC_URL", "https://photos.example/")
    known = run("invite", "olivia@crack.example")[1]

    assert "PUBLIC_URL is not set" in without
    assert re.fullmatch(r"Within 7 days, once: https://photos\.example/invitations/\S+\n", known)


def test_an_invitation_adds_somebody_only_if_told_their_role(run, look):
    refused = run("invite", "fay@crack.example")
    run("invite", "fay@crack.example", "--role", "office")

    assert refused[0] == 1
    assert "There is no user" in refused[1]
    assert look("fay@crack.example").role is User.Role.OFFICE


def test_nobody_comes_in_by_an_invitation_once_disabled(olivia, run):
    run("invite", "fay@crack.example", "--role", "field")
    run("disable", "fay@crack.example")

    code, output = run("invite", "fay@crack.example")

    assert code == 1
    assert "disabled" in output


def test_a_lost_second_factor_is_reset_and_ends_sessions(olivia, run, look, settings):
    app = create_app(settings)
    with app.app_context():
        user = accounts.find_user("olivia@crack.example")
        db.session.add(Passkey(user_id=user.id, credential_id="x", public_key=b"x", name="Phone"))
        db.session.add(UserSession(user_id=user.id, fingerprint="x"))
        user.has_second_factor = True
        db.session.commit()

    assert run("reset-factor", "olivia@crack.example") == (
        0, "olivia@crack.example logs in with the password alone\n",
    )  # fmt: skip
    assert run("reset-factor", "nobody@crack.example")[0] == 1

    assert not look().has_second_factor
    with app.app_context():
        assert db.session.query(UserSession).count() == db.session.query(Passkey).count() == 0
        [entry] = db.session.query(AuditEntry).filter_by(action="factor.reset")
        assert (entry.who, entry.words) == ("system", "olivia@crack.example")
        db.session.rollback()
        db.session.remove()
        db.engine.dispose()


# -- tokens ----------------------------------------------------------------------------------------


@pytest.fixture
def token(run):
    """A command of `viewer token`."""

    def do(*words):
        return run(*words, command="token")

    return do


@pytest.fixture
def stored(settings):
    """The tokens in the database."""

    def read():
        with create_app(settings).app_context():
            found = db.session.query(ApiToken).order_by(ApiToken.created_at).all()
            db.session.expunge_all()
            db.session.remove()
            db.engine.dispose()
        return found

    return read


def test_a_token_is_the_last_line_and_opens_what_was_said(olivia, token, settings):
    code, output = token("add", "Olivia@crack.example", "--scope", "read", "--scope", "write")
    secret = output.splitlines()[-1]
    app = create_app(settings)

    def ask(path):
        headers = {"Authorization": f"Bearer {secret}"}
        return app.test_client().get(path, headers=headers).status_code

    assert code == 0
    assert re.fullmatch(r"viewer_[\w-]{43}", secret)
    assert output.endswith(f"\n{secret}\n")
    assert (ask("/api/v1/media"), ask("/metrics")) == (200, 403)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize(
    ("words", "days", "outlives"),
    [
        ((), 90, False),
        (("--days", "7"), 7, False),
        (("--no-end", "--keep-after-password-change"), None, True),
    ],
)
def test_a_token_lasts_as_the_command_says(words, days, outlives, olivia, token, stored):
    token("add", "olivia@crack.example", "--scope", "metrics", "--name", "Prometheus", *words)

    [row] = stored()
    assert (row.name, row.scopes, row.outlives_password) == ("Prometheus", ["metrics"], outlives)
    if days is None:
        assert row.expires_at is None
    else:
        assert abs(row.expires_at - now() - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("olivia@crack.example",), "--scope"),
        (("olivia@crack.example", "--scope", "all"), "is not one of"),
        (("fay@crack.example", "--scope", "read"), "There is no user"),
        (("olivia@crack.example", "--scope", "read", "--days", "0"), "in the range 1<=x<=3650"),
        (("olivia@crack.example", "--scope", "read", "--days", "9" * 12), "in the range"),
        (("olivia@crack.example", "--scope", "read", "--name", " "), "Give it a name"),
    ],
)
def test_a_token_that_cannot_be_is_one_clear_line(words, said, olivia, token, stored):
    code, output = token("add", *words)

    assert code != 0
    assert said in output
    assert "Traceback" not in output
    assert "viewer_" not in output
    assert stored() == []


def test_a_disabled_user_gets_no_token(olivia, run, token):
    run("add", "fay@crack.example", "--password-stdin", typed=PASSWORD)
    run("disable", "fay@crack.example")

    code, output = token("add", "fay@crack.example", "--scope", "read")

    assert code == 1
    assert "is disabled" in output


def test_who_gets_a_scope_that_their_role_does_not_cover_is_told(olivia, run, token):
    run("add", "fay@crack.example", "--password-stdin", typed=PASSWORD)

    code, output = token("add", "fay@crack.example", "--scope", "metrics")

    assert code == 0
    assert "/metrics is for owners: fay@crack.example has the role field." in output


def test_tokens_are_listed_and_revoked(olivia, token, stored):
    token("add", "olivia@crack.example", "--scope", "read", "--scope", "link", "--name", "CRM")
    token("add", "olivia@crack.example", "--scope", "metrics", "--no-end")
    first, second = stored()

    until = f"{first.expires_at:%Y-%m-%d}"
    assert token("list", "olivia@crack.example")[1].splitlines() == [
        f"{first.id}\tolivia@crack.example\tread,link\tends {until}\tCRM",
        f"{second.id}\tolivia@crack.example\tmetrics\tno end\tmade on the host",
    ]
    assert token("revoke", str(first.id)) == (0, "The token CRM opens nothing any more\n")
    assert [row.id for row in stored()] == [second.id]
    assert token("revoke", str(first.id))[0] == 1
