"""Conversations as rows, quickly made: who talks, what was sent, and in which state it is."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from tests.support import homes
from tests.support.factories import NOW
from viewer.extensions import db, now
from viewer.models import Contact, ContactNumber, Conversation, MediaAttachment, Message


@pytest.fixture
def talk(app: Flask) -> Callable[..., Conversation]:
    """A conversation with so many messages, a minute apart, the newest at `at`."""

    def write(
        number: str = "+16175550123",
        messages: int = 1,
        at: datetime = NOW,
        apart: timedelta = timedelta(minutes=1),
        body: str = "Text {}",
    ) -> Conversation:
        conversation = Conversation(participants=number, latest_at=at)
        for index in range(messages):
            conversation.messages.append(
                Message(
                    provider_id=f"ACtest-{uuid.uuid4()}",
                    kind=Message.Kind.TEXT,
                    direction=Message.Direction.INCOMING,
                    sender=number,
                    body=body.format(index),
                    sent_at=at - apart * (messages - 1 - index),
                )
            )
        db.session.add(conversation)
        db.session.commit()
        return conversation

    return write


@pytest.fixture
def attach(app: Flask) -> Callable[..., MediaAttachment]:
    """A file of a message, in whichever state."""

    def add(message: Message, **values: Any) -> MediaAttachment:
        name = str(uuid.uuid4())
        media = MediaAttachment(
            **{
                "conversation_id": message.conversation_id,
                "message_id": message.id,
                "file_path": f"{name}.jpg",
                "file_stem": name,
                "source_key": name,
                "storage": homes.own_id(),
                "verified_at": now(),
                "openphone_url": "http://127.0.0.1:9/gone",
                "media_type": MediaAttachment.MediaType.PHOTO,
                "created_at": NOW - timedelta(minutes=14),
                **values,
            }
        )
        db.session.add(media)
        db.session.commit()
        return media

    return add


def stored(**values: Any) -> dict[str, Any]:
    """What a stored photo's row says."""
    return {
        "state": MediaAttachment.State.STORED, "sha256": "0" * 64, "file_size": 1000,
        "mime_type": "image/jpeg", "width": 900, "height": 600,
        "thumbnail_path": "t.jpg", "preview_path": "p.jpg",
        "copy_state": MediaAttachment.CopyState.MADE, **values,
    }  # fmt: skip


def called(number: str, first: str, last: str | None = None, **words: Any) -> None:
    """This number is in the address book under this name."""
    contact = Contact(provider_id=f"CT{uuid.uuid4()}", first_name=first, last_name=last, **words)
    contact.numbers.append(ContactNumber(number=number))
    db.session.add(contact)
    db.session.commit()
