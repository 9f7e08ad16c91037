"""Payloads as the provider sends them (people made up), composed for a test or read from a file."""

import base64
import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
_deliveries = itertools.count(1)


def load(name: str) -> dict[str, Any]:
    """One of the samples in this folder."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


@dataclass
class Message:
    """An incoming text in the newest dialect; `payload()` in whichever."""

    number: int
    text: str | None = "Here is the crack"
    media: list[Any] = field(default_factory=list)
    sender: str = "+16175550123"
    conversation: str | None = "CNtest1"
    sent_at: datetime = datetime(2026, 9, 21, 14, 13, 19, tzinfo=UTC)

    @property
    def provider_id(self) -> str:
        return f"ACmsg-test-{self.number}"

    def payload(self, dialect: str = "d3") -> dict[str, Any]:
        at = self.sent_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        media = [{"url": m, "type": "image/jpeg"} if isinstance(m, str) else m for m in self.media]
        event = {"id": f"EVtest-{self.number}", "createdAt": at, "type": "message.received"}
        common = {
            "id": self.provider_id, "direction": "incoming", "media": media,
            "status": "received", "createdAt": at,
        }  # fmt: skip
        if dialect == "d3":
            return event | {
                "apiVersion": "2026-03-30",
                "data": {
                    "resource": common | {"text": self.text},
                    "context": {
                        "orgId": "ORtest", "phoneNumberId": "PNtest",
                        "conversationId": self.conversation, "userId": "UStest",
                        "contacts": {"ids": [], "lookupStatus": "unavailable"},
                        "senderIdentifier": self.sender, "recipientIdentifiers": ["+16175550100"],
                    },
                    "links": {"quo": None},
                },
            }  # fmt: skip
        theirs = common | {
            "object": "message", "from": self.sender, "to": "+16175550100",
            "userId": "UStest", "phoneNumberId": "PNtest",
        }  # fmt: skip
        if dialect == "d1":
            return event | {
                "object": "event", "apiVersion": "v3",
                "data": {
                    "object": theirs | {"body": self.text, "conversationId": self.conversation}
                },
            }  # fmt: skip
        return event | {
            "object": "event", "apiVersion": "v4",
            "data": {
                "deepLink": f"https://my.quo.com/inbox/PNtest/c/{self.conversation}?at={self.provider_id}",
                "object": theirs | {"text": self.text},
            },
        }  # fmt: skip


def signed(
    payload: Any,
    scheme: str,
    secret: str,
    *,
    delivery_id: str | None = None,
    at: float | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a delivery, signed as the provider's documentation says."""
    body = payload if isinstance(payload, bytes) else json.dumps(
        payload, separators=(",", ":"), ensure_ascii=False
    ).encode()  # fmt: skip
    moment = time.time() if at is None else at
    if scheme == "legacy":
        stamp = str(int(moment * 1000))
        digest = _digest(base64.b64decode(secret), f"{stamp}.".encode() + body)
        return body, {"openphone-signature": f"hmac;1;{stamp};{digest}"}
    delivery_id = delivery_id or f"msg_test{next(_deliveries)}"
    stamp = str(int(moment))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = _digest(key, f"{delivery_id}.{stamp}.".encode() + body)
    return body, {
        "webhook-id": delivery_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{digest}",
    }


def _digest(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
