"""Logging: one line per step, with ids; no bodies, phone numbers, signatures or signed URLs.

The key of a file tells the customer's number, so it is logged as a digest: `viewer verify` and the
status page name the file to whoever may see it.
"""

import hashlib
import logging
import re
import sys

from flask import Flask

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


# 2026/09/21/617-555-0123/messages/1736977200_photo.jpg
_KEY = re.compile(r"\b\d{4}/\d\d/\d\d/[A-Za-z0-9._-]+/[a-z]+/[A-Za-z0-9._-]*[A-Za-z0-9_-]")


class OneLine(logging.Formatter):
    """Escape newlines, against log injection: untrusted text must not forge a log line."""

    def format(self, record: logging.LogRecord) -> str:
        line = _KEY.sub(_digest, super().format(record))
        if record.exc_info:
            return line  # keep a traceback's lines
        return line.replace("\r", "\\r").replace("\n", "\\n")


def _digest(key: re.Match[str]) -> str:
    return f"key:{hashlib.sha256(key[0].encode()).hexdigest()[:16]}"


def init_app(app: Flask) -> None:
    root = logging.getLogger("viewer")
    root.setLevel(app.config["SETTINGS"].LOG_LEVEL)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLine(FORMAT))
        root.addHandler(handler)
