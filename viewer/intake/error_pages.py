"""Judge whether what a server sent is the file, or a page that it sends in its place.

A guess never overrules what was said: mark-up and JSON are documents too, and people send them. It
is certain where a picture or a sound was announced and text came, or where a store explains why
it does not give the file. What remains is doubtful: kept, and a person decides.
"""

import enum
import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from viewer import derive
from viewer.intake import naming


class Verdict(enum.Enum):
    FILE = "file"
    DOUBTFUL = "doubtful"  # an error page, it seems; or just what was sent
    NOT_THE_FILE = "not_the_file"


@dataclass(frozen=True, slots=True)
class Said:
    """What was said about the file, and by whom."""

    declared: str | None  # by the provider, when it announced the file
    is_sound: bool  # a voicemail or a recording was announced, and nothing else
    served_as: str | None = None  # Content-Type of the answer
    url: str | None = None

    @property
    def type(self) -> str:
        return (self.declared or "").partition(";")[0].strip().lower()

    @property
    def allows_anything(self) -> bool:
        return not self.is_sound and self.type in ("", "application/octet-stream", _BINARY)

    @property
    def excludes_text(self) -> bool:
        """Whether a file was announced that is never a text."""
        is_shown = self.type.startswith(("image/", "video/", "audio/"))
        return self.is_sound or (is_shown and self.type != "image/svg+xml")


_BINARY = "binary/octet-stream"  # what one large store says of everything
_TEXTS = ("text/", "application/smil", "message/")


def judge(head: bytes, kind: derive.Kind, said: Said) -> Verdict:
    """The verdict on a file that begins with `head` and was recognised as `kind`."""
    if not kind.may_be_error_page:
        return Verdict.FILE
    words = derive.decoded(head) or ""
    is_expected = _is_of_family(said.type, kind) and not said.is_sound
    if _STORE_ERROR.search(words[:2000]):
        return Verdict.DOUBTFUL if is_expected else Verdict.NOT_THE_FILE
    if is_expected:
        return Verdict.FILE
    is_error = _reads_like_error(words, kind)
    if said.excludes_text:
        is_sure = is_error or kind.mime_type != "text/plain"
        return Verdict.NOT_THE_FILE if is_sure else Verdict.DOUBTFUL
    if kind.mime_type == "text/plain":
        return Verdict.DOUBTFUL if is_error else Verdict.FILE
    if said.allows_anything or said.type.startswith(_TEXTS):
        return _of_unknown(kind, said, is_error=is_error)
    if _is_office_page(words, said):
        return Verdict.FILE
    return Verdict.NOT_THE_FILE if kind.is_web_page or is_error else Verdict.DOUBTFUL


def _of_unknown(kind: derive.Kind, said: Said, *, is_error: bool) -> Verdict:
    """Anything may have been announced. A store serves a file under the type it was kept with."""
    served_as = (said.served_as or "").lower()
    if is_error:
        is_page = _is_of_family(served_as, kind)
        return Verdict.NOT_THE_FILE if is_page and said.allows_anything else Verdict.DOUBTFUL
    if not kind.is_web_page or _ending(said.url) in _PAGE_ENDINGS:
        return Verdict.FILE
    # Errors and login pages are served as what they are; so is a page that somebody sent.
    return Verdict.DOUBTFUL if _is_of_family(served_as, kind) else Verdict.FILE


_PAGE_ENDINGS = frozenset({"html", "htm", "xhtml"})


def _ending(url: str | None) -> str:
    parts = naming.split(url or "")
    return PurePosixPath(unquote(parts.path)).suffix[1:].lower() if parts else ""


def _is_of_family(mime_type: str, kind: derive.Kind) -> bool:
    """Whether this names the type found, or one that is written in it."""
    if mime_type == kind.mime_type:
        return True
    match kind.mime_type:
        case "application/xml":
            return mime_type.endswith(("/xml", "+xml")) or mime_type == "application/smil"
        case "text/html" | "application/xhtml+xml":
            return mime_type in (
                "text/html",
                "application/xhtml+xml",
                "application/xml",
                "text/xml",
            )
        case "application/json":
            return mime_type.endswith(("/json", "+json")) or mime_type in _MORE_JSON
    return mime_type.startswith("text/") and kind.mime_type == "text/plain"


_MORE_JSON = ("text/javascript", "application/x-ndjson", "application/manifest")

# S3 and what speaks as it does, Google's and Microsoft's stores: <Error><Code>NoSuchKey</Code>.
_STORE_ERROR = re.compile(
    r"<Error>\s*<Code>[A-Z][A-Za-z]{3,60}</Code>\s*<(Message|Details|RequestId|HostId)>"
    r"|<Error>\s*<Code>(AccessDenied|ExpiredToken|InvalidToken|NoSuchKey|NoSuchBucket|SlowDown"
    r"|SignatureDoesNotMatch|RequestTimeTooSkewed|InternalError|AuthenticationFailed"
    r"|BlobNotFound|ResourceNotFound)</Code>"
)
_ERROR_WORDS = re.compile(
    r"\b(not found|forbidden|unauthori[sz]ed|access (is )?denied|permission denied"
    r"|(has|is|link|url|token|session|request) (has )?expired|no longer (available|valid)"
    r"|bad (gateway|request)|gateway time-?out|service (is )?(temporarily )?unavailable"
    r"|internal server error|too many requests|error( ?code)?:? ?[1-5]\d\d\d?"
    r"|(sign|log) ?(in|on)|captcha|just a moment)\b",
    re.IGNORECASE,
)
_TITLES = re.compile(r"<(title|h1)\b[^>]{0,200}>(.{0,300}?)</\1", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"""<input\b[^>]{0,500}\btype\s*=\s*["']?password""", re.IGNORECASE)
_SHORT = 300  # characters; a longer text that speaks of errors is about them
_ERROR_KEYS = frozenset({"error", "errors", "fault", "error_description", "errorcode"})


def _reads_like_error(words: str, kind: derive.Kind) -> bool:
    if kind.is_web_page:
        titles = " ".join(title for _, title in _TITLES.findall(words))
        if _PASSWORD.search(words):
            return True
        plain = re.sub(r"<[^>]{0,500}>", " ", words)
        return bool(_ERROR_WORDS.search(titles or (plain if len(plain) <= _SHORT else "")))
    if kind.mime_type == "application/json":
        return _is_json_error(words)
    if kind.mime_type == "application/xml":
        return re.search(r"<(?:\w+:)?(error|fault)\b", words[:1000], re.IGNORECASE) is not None
    return len(words) <= _SHORT and bool(_ERROR_WORDS.search(words))


def _is_json_error(words: str) -> bool:
    try:
        value = json.loads(words.lstrip("\ufeff"))
    except (json.JSONDecodeError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    names = {str(name).lower() for name in value}
    return bool(names & _ERROR_KEYS) or ("message" in names and len(names) <= 5)


def _is_office_page(words: str, said: Said) -> bool:
    """Programs save a table as a web page and call it a worksheet; Excel opens that."""
    is_office = said.type.startswith(("application/vnd.ms-", "application/msword"))
    return is_office and "schemas-microsoft-com:office" in words
