"""The Chromium that is installed."""

import shutil

# The same engine without a window is twice as quick.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
