"""What is true: events, conversations, messages, media, people, work.

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
from viewer.models.people import (
    ApiToken,
    AuditEntry,
    Invitation,
    Throttle,
    Unread,
    User,
    UserSession,
    fingerprint,
    new_token,
)
from viewer.models.progress import CatchUpMark
from viewer.models.searching import SearchEntry, Term
from viewer.models.shares import Share, ShareItem
from viewer.models.stores import StoreIdentity
from viewer.models.work import STATUSES, Evidence, EvidenceItem, MediaLink, WorkEntry, WorkRecord

__all__ = [
    "STATUSES",
    "ApiToken",
    "AuditEntry",
    "CatchUpMark",
    "Contact",
    "ContactNumber",
    "Conversation",
    "ConversationAlias",
    "Duty",
    "Evidence",
    "EvidenceItem",
    "Invitation",
    "Line",
    "MediaAttachment",
    "MediaLink",
    "Message",
    "RefusedDelivery",
    "SearchEntry",
    "Share",
    "ShareItem",
    "StoreIdentity",
    "Term",
    "Throttle",
    "Unread",
    "User",
    "UserSession",
    "WebhookEvent",
    "WorkEntry",
    "WorkRecord",
    "fingerprint",
    "new_token",
]
