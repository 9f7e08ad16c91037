"""Mail to staff, where SMTP_URL is set. A row, which the schedule sends: no login waits for it."""

import logging
import smtplib
import ssl
from datetime import timedelta
from email.message import EmailMessage
from urllib.parse import parse_qs, unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from viewer.config import settings
from viewer.extensions import db, now
from viewer.loopback import is_loopback
from viewer.models import Mail, User

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds
TIMEOUT = 20.0  # seconds for each step of the conversation with the mail server
LEASE = timedelta(minutes=5)
KEPT = timedelta(days=1)  # what no server took by then is given up
AT_ONCE = 50  # mails of one run
# Of one mail; the server may take the next.
REFUSALS = (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused)


class NotSent(Exception):
    """The mail server cannot be reached, or refuses the mail."""


def send_notice(user: User, subject: str, words: str) -> None:
    """Tell a user what happened to their account, if there is a mail server. Does not commit."""
    found = settings()
    if not found.smtp_url:
        return
    address = f"\n\n{found.PUBLIC_URL}/account" if found.PUBLIC_URL else ""
    body = (
        f"Hello {user.title},\n\n{words}\n\n"
        "If that was you, there is nothing to do. If not, log in, change your password, log out"
        f" every other device, and tell an owner of the viewer.{address}\n"
    )
    db.session.add(Mail(recipient=user.email, subject=f"Viewer: {subject}", body=body))


def send_due() -> str:
    """Send what is due; returns a line about it. Raises NotSent.

    Commits after each mail: the server may take minutes, so no transaction waits for it.
    """
    db.session.execute(sa.delete(Mail).where(Mail.created_at < now() - KEPT))
    ids = list(
        db.session.scalars(
            sa.select(Mail.id).where(Mail.due_at <= now()).order_by(Mail.created_at).limit(AT_ONCE)
        )
    )
    db.session.commit()
    sent, trouble = 0, None
    for mail_id in ids:
        moment = now()
        claim = sa.update(Mail).where(Mail.id == mail_id, Mail.due_at <= moment)
        taken = db.session.execute(claim.values(due_at=moment + LEASE, attempts=Mail.attempts + 1))
        assert isinstance(taken, CursorResult)  # noqa: S101 - for the type checker
        mail = db.session.get(Mail, mail_id, populate_existing=True)
        db.session.commit()
        if mail is None or taken.rowcount != 1:
            continue
        try:
            _hand_over(mail)
        except (OSError, smtplib.SMTPException) as error:
            log.warning("a mail could not be sent: %s", type(error).__name__)
            trouble = error
            if not isinstance(error, REFUSALS):
                break  # nobody is there: the others would wait for as long
        else:
            db.session.execute(sa.delete(Mail).filter_by(id=mail_id))
            db.session.commit()
            sent += 1
    if trouble is not None:
        raise NotSent(type(trouble).__name__) from trouble
    return f"{sent} sent"


def _hand_over(mail: Mail) -> None:
    """Give it to the mail server. Raises OSError, SMTPException."""
    parts = urlsplit(settings().smtp_url)
    host, context = parts.hostname or "", ssl.create_default_context()
    message = EmailMessage()
    message["From"] = parse_qs(parts.query).get("from", [f"viewer@{host}"])[0]
    message["To"], message["Subject"] = mail.recipient, mail.subject
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message["Message-ID"] = f"<{mail.id}@{host}>"  # the same, should it be sent again
    message.set_content(mail.body)
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, parts.port or 465, timeout=TIMEOUT, context=context
        )
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=TIMEOUT)
    with server:
        if parts.scheme == "smtp" and not is_loopback(host):
            server.starttls(
                context=context
            )  # raises where the server cannot: nothing goes in clear
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)
