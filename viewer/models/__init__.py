"""What is true: events, people, conversations, messages, media.

Models neither commit nor enqueue, and know no HTTP.
"""

from viewer.models.conversations import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    Line,
    Message,
)
from viewer.models.duties import Duty
from viewer.models.events import RefusedDelivery, WebhookEvent
from viewer.models.media import MediaAttachment
from viewer.models.progress import CatchUpMark
from viewer.models.stores import StoreIdentity

__all__ = [
    "CatchUpMark",
    "Contact",
    "ContactNumber",
    "Conversation",
    "ConversationAlias",
    "Duty",
    "Line",
    "MediaAttachment",
    "Message",
    "RefusedDelivery",
    "StoreIdentity",
    "WebhookEvent",
]
