"""The phone provider, Quo (formerly OpenPhone): verify its deliveries, parse them into our types.

    delivery = quo.open_delivery(headers, body, secrets, now)            # or NotFromQuo
    seen = quo.understand(quo.read_json(body), received_at=received_at)  # or NotUnderstood

Plain values in, plain values out: nothing here knows rows, requests or settings.
"""

from viewer.quo.dialects import identifier, kind_of, read_json, understand, understand_rest, urls_in
from viewer.quo.glimpse import Glimpse, glimpse
from viewer.quo.numbers import canonical, display, folder_name, forgotten, is_forgotten, is_number
from viewer.quo.signatures import (
    Headers,
    NotFromQuo,
    Reason,
    check_secrets,
    claims_signature,
    open_delivery,
)
from viewer.quo.types import (
    CallSeen,
    ContactSeen,
    Delivery,
    Direction,
    MediaSeen,
    MessageSeen,
    Nothing,
    NotUnderstood,
    Parties,
    Role,
    Seen,
    TranscriptLine,
)

__all__ = [
    "CallSeen",
    "ContactSeen",
    "Delivery",
    "Direction",
    "Glimpse",
    "Headers",
    "MediaSeen",
    "MessageSeen",
    "NotFromQuo",
    "NotUnderstood",
    "Nothing",
    "Parties",
    "Reason",
    "Role",
    "Seen",
    "TranscriptLine",
    "canonical",
    "check_secrets",
    "claims_signature",
    "display",
    "folder_name",
    "forgotten",
    "glimpse",
    "identifier",
    "is_forgotten",
    "is_number",
    "kind_of",
    "open_delivery",
    "read_json",
    "understand",
    "understand_rest",
    "urls_in",
]
