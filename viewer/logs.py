"""One line at each station, with ids: never bodies, numbers, signatures or signed addresses."""

import logging
import sys

from flask import Flask

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"


class OneLine(logging.Formatter):
    """A stranger's newline must not look like a line of ours."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.exc_info:
            return line  # a traceback is ours
        return line.replace("\r", "\\r").replace("\n", "\\n")


def init_app(app: Flask) -> None:
    root = logging.getLogger("viewer")
    root.setLevel(app.config["SETTINGS"].LOG_LEVEL)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(OneLine(FORMAT))
        root.addHandler(handler)
