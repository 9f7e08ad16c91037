"""Mail to staff: through a real mail server, and never in the way of anybody."""

import email.policy
import ssl
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import time_machine
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message

from tests.support.servers import free_port
from tests.support.sites import certify
from viewer.extensions import db, now
from viewer.models import Mail, User
from viewer.office import accounts, mail


class Postbox(Message):
    """Keeps what it is given; or refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[EmailMessage] = []
        self.refuses = False

    async def handle_RCPT(  # noqa: N802 - its name at aiosmtpd
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        envelope.rcpt_tos.append(address)
        return "451 later" if self.refuses else "250 OK"

    def prepare_message(self, _session: Any, envelope: Any) -> EmailMessage:
        found: EmailMessage = email.message_from_bytes(
            envelope.content, policy=email.policy.default
        )
        return found

    def handle_message(self, message: Any) -> None:
        self.mails.append(message)


@pytest.fixture
def postbox(settings: dict[str, Any]) -> Iterator[Postbox]:
    found = Postbox()
    server = Controller(found, hostname="127.0.0.1", port=free_port())
    server.start()
    settings["SMTP_URL"] = f"smtp://127.0.0.1:{server.port}?from=viewer@crack.example"
    settings["PUBLIC_URL"] = "https://photos.example"
    yield found
    server.stop()


@pytest.mark.parametrize("is_trusted", [True, False])
def test_over_tls_a_mail_goes_to_a_server_that_proves_its_name(
    is_trusted, tmp_path, settings, request, monkeypatch
):
    certificate = certify(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "privkey.pem")
    postbox = Postbox()
    port = free_port()
    server = Controller(postbox, hostname="localhost", port=port, ssl_context=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # of the server's own start, too
    server.start()
    if not is_trusted:
        monkeypatch.delenv("SSL_CERT_FILE")
    settings["SMTP_URL"] = f"smtps://localhost:{port}"
    request.getfixturevalue("app")
    mail.send_notice(accounts.add("olivia@crack.example", User.Role.OWNER), "x", "y")
    db.session.commit()

    try:
        if is_trusted:
            assert mail.send_due() == "1 sent"
        else:
            with pytest.raises(mail.NotSent, match="SSL"):
                mail.send_due()
    finally:
        server.stop()

    assert [one["To"] for one in postbox.mails] == ["olivia@crack.example"] * is_trusted


@pytest.fixture
def olivia(postbox: Postbox, request: pytest.FixtureRequest) -> User:
    request.getfixturevalue("app")
    user = accounts.add("olivia@crack.example", User.Role.OWNER, "Olivia Ö.")
    db.session.commit()
    return user


def test_a_mail_says_what_happened_and_where_to_look(postbox, olivia):
    mail.send_notice(olivia, "A login on a new device", "Somebody logged in as you with Firefox.")
    db.session.commit()
    assert postbox.mails == []  # a row; whoever logs in waits for nobody

    assert mail.send_due() == "1 sent"
    assert mail.send_due() == "0 sent"

    [got] = postbox.mails
    assert (got["From"], got["To"]) == ("viewer@crack.example", "olivia@crack.example")
    assert got["Subject"] == "Viewer: A login on a new device"
    assert got.get_content_type() == "text/plain"
    assert "Hello Olivia Ö.," in got.get_content()
    assert "https://photos.example/account" in got.get_content()
    assert db.session.query(Mail).count() == 0


def test_a_mail_that_is_refused_waits_and_is_given_up_after_a_day(postbox, olivia):
    postbox.refuses = True
    mail.send_notice(olivia, "x", "y")
    db.session.commit()

    with pytest.raises(mail.NotSent):
        mail.send_due()
    assert mail.send_due() == "0 sent"  # not at once again
    postbox.refuses = False
    with time_machine.travel(now() + timedelta(minutes=6)):
        assert mail.send_due() == "1 sent"

    mail.send_notice(olivia, "x", "y")
    db.session.commit()
    with time_machine.travel(now() + timedelta(days=2)):
        assert mail.send_due() == "0 sent"
    assert db.session.query(Mail).count() == 0


def test_without_a_mail_server_nothing_is_kept_for_it(app):
    user = accounts.add("olivia@crack.example", User.Role.OWNER)

    mail.send_notice(user, "x", "y")

    db.session.commit()
    assert db.session.query(Mail).count() == 0


def test_a_name_cannot_add_a_header_or_a_recipient(postbox, olivia):
    olivia.name = "Olivia\r\nBcc: all@crack.example"
    mail.send_notice(olivia, "x", "y")
    db.session.commit()

    mail.send_due()

    [got] = postbox.mails
    assert got["Bcc"] is None
    assert got["To"] == "olivia@crack.example"
