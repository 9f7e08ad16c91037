"""Second factors: passkeys, recovery codes, and the challenges that passkeys answer.

The secret of an authenticator app is on the user's row: there is one, and each login has that row.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Model, now


class Passkey(Model):
    """A passkey: its private half never leaves the user's device or password manager."""

    __tablename__ = "passkeys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    # Base64url, as browsers name it. At most 1,023 bytes (WebAuthn level 3).
    credential_id: Mapped[str] = mapped_column(String(1_400), unique=True)
    public_key: Mapped[bytes] = mapped_column(sa.LargeBinary)  # COSE
    sign_count: Mapped[int] = mapped_column(sa.BigInteger, default=0)  # 0 for ever where synced
    name: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime] = mapped_column(default=now)
    used_at: Mapped[datetime | None]


class RecoveryCode(Model):
    """A code that stands in for a lost second factor, once."""

    __tablename__ = "recovery_codes"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    fingerprint: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]


class PasskeyChallenge(Model):
    """A challenge that a passkey has to sign. Deleted when it is answered, so it works once."""

    __tablename__ = "passkey_challenges"

    challenge: Mapped[str] = mapped_column(String(100), primary_key=True)  # base64url
    # To whom a passkey is being added, or who confirms who they are; None: a login.
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
