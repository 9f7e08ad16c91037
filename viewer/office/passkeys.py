"""Passkeys (WebAuthn): what browsers are asked, and whether their answers are right.

A passkey logs in alone, so user verification (a fingerprint, a face, a PIN) is always required, and
the passkey is discoverable: nobody types an e-mail address. Attestation is not asked for: it would
tell the brand of a device, and refuse none.
"""

import json
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
import webauthn
from sqlalchemy.engine import CursorResult
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    parse_authentication_credential_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from viewer.extensions import db, now
from viewer.models import Passkey, PasskeyChallenge, User

CHALLENGE_LASTS = timedelta(minutes=5)
MOST_CHALLENGES = 1_000  # that wait for an answer; the oldest make room
LONGEST_CREDENTIAL = 16_000  # characters of an answer
RP_NAME = "Viewer"


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Whose passkeys these are: the host that browsers bind them to, and its whole origin."""

    id: str
    origin: str


class NotProven(Exception):
    """The answer is wrong, too late, used before, or of a passkey that we do not know."""


def registration_options(party: RelyingParty, user: User) -> str:
    """JSON for `navigator.credentials.create`. Does not commit."""
    known = db.session.scalars(sa.select(Passkey.credential_id).filter_by(user_id=user.id))
    return webauthn.options_to_json(
        webauthn.generate_registration_options(
            rp_id=party.id,
            rp_name=RP_NAME,
            user_id=user.id.bytes,
            user_name=user.email,
            user_display_name=user.title,
            challenge=_new_challenge(user),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=base64url_to_bytes(one)) for one in known
            ],
        )
    )


def register(party: RelyingParty, user: User, answer: str, name: str) -> Passkey:
    """The passkey that a browser made, not added yet. Raises NotProven. Does not commit."""
    try:
        credential = parse_registration_credential_json(_checked_length(answer))
        proof = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=_use_challenge(credential.response.client_data_json, user),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, RecursionError) as error:
        raise NotProven(str(error)) from error
    return Passkey(
        user_id=user.id,
        credential_id=bytes_to_base64url(proof.credential_id),
        public_key=proof.credential_public_key,
        sign_count=proof.sign_count,
        name=name,
    )


def authentication_options(party: RelyingParty, user: User | None) -> str:
    """JSON for `navigator.credentials.get`: for a login, or (`user`) to confirm who one is.

    Does not commit.
    """
    known = []
    if user is not None:
        known = list(
            db.session.scalars(sa.select(Passkey.credential_id).filter_by(user_id=user.id))
        )
    return webauthn.options_to_json(
        webauthn.generate_authentication_options(
            rp_id=party.id,
            challenge=_new_challenge(user),
            allow_credentials=[
                PublicKeyCredentialDescriptor(id=base64url_to_bytes(one)) for one in known
            ],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
    )


def authenticate(party: RelyingParty, user: User | None, answer: str) -> Passkey:
    """The passkey that signed our challenge; of this user, if one is given. Raises NotProven.

    The challenge is used up, the passkey's counter written. Does not commit.
    """
    try:
        credential = parse_authentication_credential_json(_checked_length(answer))
        challenge = _use_challenge(credential.response.client_data_json, user)
        passkey = db.session.scalar(
            sa.select(Passkey).filter_by(credential_id=bytes_to_base64url(credential.raw_id))
        )
        if passkey is None or (user is not None and passkey.user_id != user.id):
            raise NotProven("an unknown passkey")
        proof = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, RecursionError) as error:
        raise NotProven(str(error)) from error
    used = sa.update(Passkey).where(
        # A copy that signed at the same moment: one of the two is refused.
        Passkey.id == passkey.id, Passkey.sign_count == passkey.sign_count
    )  # fmt: skip
    if _rows(used.values(sign_count=proof.new_sign_count, used_at=now())) != 1:
        raise NotProven("the passkey was used or removed at this moment")
    return passkey


def _checked_length(answer: str) -> str:
    if len(answer) > LONGEST_CREDENTIAL:
        raise NotProven("longer than any answer")
    return answer


def _new_challenge(user: User | None) -> bytes:
    found = webauthn.helpers.generate_challenge()
    _tidy()
    db.session.add(
        PasskeyChallenge(challenge=bytes_to_base64url(found), user_id=user.id if user else None)
    )
    return found


def _use_challenge(client_data: bytes, user: User | None) -> bytes:
    """The challenge that this answers, if it is one of ours, for this user. It works once."""
    try:
        challenge = str(json.loads(client_data)["challenge"])
    except (ValueError, TypeError, LookupError, RecursionError):
        raise NotProven("no challenge") from None
    is_whose = (
        PasskeyChallenge.user_id.is_(None) if user is None else PasskeyChallenge.user_id == user.id
    )
    used = sa.delete(PasskeyChallenge).where(
        PasskeyChallenge.challenge == challenge,
        is_whose,
        PasskeyChallenge.created_at > now() - CHALLENGE_LASTS,
    )
    if _rows(used) != 1:
        raise NotProven("an unknown challenge")
    return base64url_to_bytes(challenge)


def _tidy() -> None:
    """Bound the table: strangers may ask for challenges."""
    oldest = PasskeyChallenge.created_at < now() - CHALLENGE_LASTS
    db.session.execute(sa.delete(PasskeyChallenge).where(oldest))
    surplus = (
        sa.select(PasskeyChallenge.challenge)
        .order_by(PasskeyChallenge.created_at.desc())
        .offset(MOST_CHALLENGES - 1)
    )
    db.session.execute(
        sa.delete(PasskeyChallenge).where(PasskeyChallenge.challenge.in_(surplus)),
        execution_options={"synchronize_session": False},
    )


def _rows(statement: sa.Update | sa.Delete) -> int:
    result = db.session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker
    return result.rowcount
