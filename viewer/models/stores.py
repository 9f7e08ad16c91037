"""Which store this database belongs to."""

import uuid
from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from viewer.extensions import Model, now


class StoreIdentity(Model):
    """The identity of our store: this one row must equal the marker in the media folder."""

    __tablename__ = "store_identities"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    created_at: Mapped[datetime] = mapped_column(default=now)
