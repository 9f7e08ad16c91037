"""What the database knows of its own tables: by that it chooses how to look for something."""

from viewer.extensions import db

EVERY = 24 * 3600.0  # seconds

# Look at every table that grew, and at a sample of each index: milliseconds, whatever the size.
_OPTIMIZE = "PRAGMA optimize = 0x10002"


def refresh() -> str:
    """Bring it up to date; one line about how that went. Does not commit."""
    if db.engine.dialect.name != "sqlite":
        return "PostgreSQL does it by itself"
    db.session.connection().exec_driver_sql(_OPTIMIZE)
    return "up to date"
