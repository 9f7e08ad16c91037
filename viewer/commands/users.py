"""`viewer user …` and `viewer token …`: manage user accounts, and the API tokens of programs."""

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
import sqlalchemy as sa

from viewer.commands.context import opened_app
from viewer.config import settings
from viewer.extensions import db
from viewer.models import ApiToken, User
from viewer.office import accounts, second_factor

SCOPES = [scope.value for scope in ApiToken.Scope]
ROLES = [role.value for role in User.Role]  # click would use an enum's names, in capitals


@click.group("user")
def users() -> None:
    """Manage user accounts."""


@users.command("add")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), default=User.Role.FIELD.value)
@click.option("--name", default="", help="As colleagues call them.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def add_user(email: str, role: str, name: str, password_stdin: bool) -> None:
    """Add a user."""
    chosen = _password(from_stdin=password_stdin)
    with opened_app(may_create=True), _refusals():
        user = accounts.add(email, User.Role(role), name, accounts.hash_password(chosen))
        db.session.commit()
        click.echo(f"{user.email} is a user with the role {user.role}")


@users.command("invite")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), help="Add them with it, if need be.")
def invite_user(email: str, role: str | None) -> None:
    """Print a link to choose a password: for a new user, or one who forgot it."""
    with opened_app(may_create=role is not None), _refusals():
        if role is not None and accounts.find_user(email) is None:
            accounts.add(email, User.Role(role))
        token = accounts.invite(_user(email))
        db.session.commit()
        days, address = accounts.INVITATION_LASTS.days, settings().PUBLIC_URL
        click.echo(f"Within {days} days, once: {address}/invitations/{token}")
        if not address:
            click.echo(
                "Put this viewer's address before it, such as https://viewer.example: PUBLIC_URL is"
                " not set.",
                err=True,
            )


@users.command("enable")
@click.argument("email")
def enable_user(email: str) -> None:
    """Enable a disabled user again."""
    with opened_app(), _refusals():
        accounts.enable(_user(email))
        db.session.commit()
    click.echo(f"{email} is enabled")


@users.command("list")
def list_users() -> None:
    """List all users, enabled and disabled."""
    with opened_app():
        for user in db.session.scalars(sa.select(User).order_by(User.email)):
            state = "enabled" if user.is_enabled else "disabled"
            click.echo(f"{user.email}\t{user.role}\t{state}\t{user.name}")


@users.command("disable")
@click.argument("email")
def disable_user(email: str) -> None:
    """Disable a user, and log them out on every device."""
    with opened_app(), _refusals():
        accounts.disable(_user(email))
        db.session.commit()
    click.echo(f"{email} is disabled")


@users.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def change_password(email: str, password_stdin: bool) -> None:
    """Set a user's password, and log them out on every device."""
    chosen = _password(from_stdin=password_stdin)
    with opened_app(), _refusals():
        accounts.set_password(_user(email), accounts.hash_password(chosen))
        db.session.commit()
    click.echo(f"{email} has a new password")


@click.group("token")
def tokens() -> None:
    """Manage the API tokens with which other programs act for a user."""


@tokens.command("add")
@click.argument("email")
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True,
    help="What it may do; several are possible. The user's role limits it.",
)  # fmt: skip
@click.option("--name", default="made on the host", help="Which program has it.")
@click.option(
    "--days", type=click.IntRange(1, 3_650), default=accounts.TOKEN_LASTS.days, show_default=True
)
@click.option("--no-end", is_flag=True, help="It lasts until it is revoked.")
@click.option("--keep-after-password-change", is_flag=True, help="It ends with no password.")
def add_token(
    email: str,
    scopes: tuple[str, ...],
    name: str,
    days: int,
    no_end: bool,
    keep_after_password_change: bool,
) -> None:
    """Add a token, and print it on the last line: it is not shown again."""
    with opened_app(), _refusals():
        user = _user(email)
        wanted = [ApiToken.Scope(scope) for scope in scopes]
        token = accounts.add_token(
            user,
            name,
            wanted,
            lasts=None if no_end else timedelta(days=days),
            outlives_password=keep_after_password_change,
        )
        db.session.commit()
        if ApiToken.Scope.METRICS in wanted and not user.role.covers(User.Role.OWNER):
            click.echo(f"/metrics is for owners: {user.email} has the role {user.role}.", err=True)
        lasts = "until it is revoked" if no_end else f"for {days} days"
        click.echo(f"{user.email}, {', '.join(scopes)}, {lasts}:")
        click.echo(token)


@tokens.command("list")
@click.argument("email", required=False)
def list_tokens(email: str | None) -> None:
    """List the tokens of a user, or of all."""
    with opened_app(), _refusals():
        rows = sa.select(ApiToken, User).join(ApiToken.user)
        if email is not None:
            rows = rows.where(User.id == _user(email).id)
        for token, user in db.session.execute(rows.order_by(User.email, ApiToken.created_at)):
            words = [str(token.id), user.email, ",".join(token.scopes), _end_of(token), token.name]
            click.echo("\t".join(words))


def _end_of(token: ApiToken) -> str:
    if token.expires_at is None:
        return "no end"
    return f"{'ended' if token.has_ended else 'ends'} {token.expires_at:%Y-%m-%d}"


@tokens.command("revoke")
@click.argument("token_id", metavar="ID", type=click.UUID)
def revoke_token(token_id: uuid.UUID) -> None:
    """Revoke a token; `viewer token list` tells its ID."""
    with opened_app(), _refusals():
        row = db.session.get(ApiToken, token_id)
        if row is None:
            raise accounts.Refused(f"There is no token {token_id}.")
        name = row.name
        accounts.revoke_token(row.user, token_id)
        db.session.commit()
    click.echo(f"The token {name} opens nothing any more")


@users.command("reset-factor")
@click.argument("email")
def reset_factor(email: str) -> None:
    """Take a user's lost second factors away, and log them out on every device."""
    with opened_app(), _refusals():
        second_factor.reset(_user(email))
        db.session.commit()
    click.echo(f"{email} logs in with the password alone")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    chosen: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return chosen


def _user(email: str) -> User:
    user = accounts.find_user(email)
    if user is None:
        raise accounts.Refused(f"There is no user {email}.")
    return user


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except accounts.Refused as refusal:
        raise click.ClickException(str(refusal)) from None
