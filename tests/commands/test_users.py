"""`viewer user …`: who may come in, from the shell."""

import re

import pytest
from click.testing import CliRunner

from viewer import create_app
from viewer.commands import viewer
from viewer.config import Settings
from viewer.extensions import db
from viewer.models import Throttle, User, UserSession
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

    def do(*words, typed=None):
        result = CliRunner().invoke(viewer, ["user", *words], input=typed)
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
        (("add", "fay@crack.example"), "short", "10 to 200 characters"),
        (("add", "fay@crack.example", "--role", "king"), PASSWORD, "is not one of"),
        (("password", "fay@crack.example"), PASSWORD, "There is no user"),
        (("password", "olivia@crack.example"), "short", "10 to 200 characters"),
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
