"""TOTP (RFC 6238): the codes of an authenticator app.

The viewer needs the secret itself to compute a code, so it cannot be hashed. It is encrypted with a
key derived from SECRET_KEY: whoever gets the database, or a backup of it, has no codes. Under a new
SECRET_KEY it can be read while the old key is in SECRET_KEY_FALLBACKS, and is encrypted anew when
it is used; after that the app has to be set up again, by a recovery code or a reset.
"""

import base64
import binascii
import hmac
import os
import uuid
from datetime import datetime

import pyotp
import segno
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app

from viewer.config import settings

STEP = 30  # seconds
DRIFT = 1  # steps by which the phone's clock may be off
ISSUER = "Viewer"
_NONCE = 12  # bytes


def new_secret() -> str:
    """160 bits, in base32, as apps take it."""
    return pyotp.random_base32()


def matching_step(secret: str, code: str, moment: datetime, last_step: int | None) -> int | None:
    """Return the time step that this is the code of; None: of none, or of one that is used up.

    The caller stores the step as the last one: a code that somebody saw works no second time.
    """
    if not (code.isascii() and code.isdigit()):
        return None
    codes, current = pyotp.TOTP(secret), int(moment.timestamp()) // STEP
    for step in range(current - DRIFT, current + DRIFT + 1):
        is_fresh = last_step is None or step > last_step
        if is_fresh and hmac.compare_digest(codes.generate_otp(step), code):
            return step
    return None


def draw_qr_code(secret: str, email: str) -> str:
    """An SVG element with what an app scans. On white in the dark, too: scanners need it."""
    address = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)
    drawing: str = segno.make(address, micro=False).svg_inline(
        omitsize=True, dark="#000", light="#fff", svgclass="qr"
    )
    return drawing


def seal(secret: str, user_id: uuid.UUID) -> str:
    """Encrypt the secret for the row of this user, and no other."""
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(_key(current_app.config["SECRET_KEY"])).encrypt(
        nonce, secret.encode(), user_id.bytes
    )
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(sealed: str, user_id: uuid.UUID) -> str | None:
    """Decrypt it; None if it was sealed for somebody else, or with a key that we do not have."""
    try:
        raw = base64.urlsafe_b64decode(sealed.encode())
    except (binascii.Error, ValueError):
        return None
    if len(raw) <= _NONCE:
        return None
    for key in (current_app.config["SECRET_KEY"], *settings().secret_key_fallbacks):
        try:
            return AESGCM(_key(key)).decrypt(raw[:_NONCE], raw[_NONCE:], user_id.bytes).decode()
        except InvalidTag:
            continue
    return None


def _key(secret_key: str) -> bytes:
    return HKDF(SHA256(), length=32, salt=None, info=b"viewer: TOTP secrets").derive(
        secret_key.encode()
    )
