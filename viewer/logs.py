"""Logging: one line per step, with ids; no bodies, phone numbers, signatures or signed URLs."""

import logging
import sys

from flask import Flask

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """Escape newlines, against log injection: untrusted text must not forge a log line."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.exc_info:
            return line  # keep a traceback's lines
        return line.replace("\r", "\\r").replace("\n", "\\n")


def init_app(app: Flask) -> None:
    root = logging.getLogger("viewer")
    root.setLevel(app.config["SETTINGS"].LOG_LEVEL)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLine(FORMAT))
        root.addHandler(handler)
