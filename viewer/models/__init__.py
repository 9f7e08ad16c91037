"""The tables: events, conversations, messages, media, people, work.

Models neither commit nor remind workers, and know no HTTP.
"""

from viewer.models.checkpoints import Checkpoint
from viewer.models.conversations import (
    Contact,
    ContactNumber,
    Conversation,
    ConversationAlias,
    Message,
    PhoneLine,
    RecordingConsent,
)
from viewer.models.events import CutConnection, RefusedDelivery, WebhookEvent
from viewer.models.factors import Passkey, PasskeyChallenge, RecoveryCode
from viewer.models.forgetting import Erasure, Forgetting, ForgottenId, ForgottenNumber
from viewer.models.mails import Mail
from viewer.models.media import MediaAttachment
from viewer.models.people import (
    ApiToken,
    AuditChain,
    AuditEntry,
    Invitation,
    Throttle,
    Unread,
    User,
    UserSession,
    fingerprint,
    new_token,
)
from viewer.models.scheduled_tasks import ScheduledTask
from viewer.models.searching import SearchEntry, Term
from viewer.models.shares import Share, ShareItem
from viewer.models.stores import RegisteredStore, UpkeepRun
from viewer.models.work import STATUSES, Evidence, EvidenceItem, MediaLink, WorkEntry, WorkRecord

__all__ = [
    "STATUSES",
    "ApiToken",
    "AuditChain",
    "AuditEntry",
    "Checkpoint",
    "Contact",
    "ContactNumber",
    "Conversation",
    "ConversationAlias",
    "CutConnection",
    "Erasure",
    "Evidence",
    "EvidenceItem",
    "Forgetting",
    "ForgottenId",
    "ForgottenNumber",
    "Invitation",
    "Mail",
    "MediaAttachment",
    "MediaLink",
    "Message",
    "Passkey",
    "PasskeyChallenge",
    "PhoneLine",
    "RecordingConsent",
    "RecoveryCode",
    "RefusedDelivery",
    "RegisteredStore",
    "ScheduledTask",
    "SearchEntry",
    "Share",
    "ShareItem",
    "Term",
    "Throttle",
    "Unread",
    "UpkeepRun",
    "User",
    "UserSession",
    "WebhookEvent",
    "WorkEntry",
    "WorkRecord",
    "fingerprint",
    "new_token",
]
