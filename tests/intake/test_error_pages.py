"""What a server sends in place of a file is told from what people send: by all that was said."""

import pytest

from tests.support import documents
from tests.support.documents import GCS_ERROR, GPX, KML, LOGIN, NOTE, PAGE, S3_ERROR, SMIL, XHTML
from viewer import derive
from viewer.intake.error_pages import Said, Verdict, judge

FILE, DOUBTFUL, NOT = Verdict.FILE, Verdict.DOUBTFUL, Verdict.NOT_THE_FILE
ANY = "application/octet-stream"


def verdict(content, declared, served_as=None, *, is_sound=False, url=None):
    kind = derive.sniff(content, declared)
    return judge(content, kind, Said(declared, is_sound, served_as, url))


@pytest.mark.parametrize("declared", [None, ANY, "image/jpeg", "application/smil", "text/plain"])
@pytest.mark.parametrize("content", [SMIL, GPX, KML, b"BEGIN:VCARD\r\n", b"%PDF-1.4\n"])
def test_what_no_server_says_of_an_error_is_the_file(content, declared):
    assert verdict(content, declared) is FILE


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (PAGE, "text/html"), (PAGE, "application/xhtml+xml"), (XHTML, "application/xhtml+xml"),
        (XHTML, "text/xml"), (LOGIN, "text/html; charset=utf-8"),
        (NOTE, "application/xml"), (NOTE, "text/xml"), (NOTE, "application/tcx+xml"),
        (b'<?xml version="1.0"?><error>0.2 mm</error>', "text/xml"),
        (b'{"error": 1}', "application/json"), (b'{"error": 1}', "application/geo+json"),
        (b"Not found", "text/plain"), (b"Not found", "text/csv"),
        (PAGE.replace(b"<html>", b"<html xmlns:o='urn:schemas-microsoft-com:office:office'>"),
         "application/vnd.ms-excel"),
        (b"Wall", "application/pdf"),
    ],
)  # fmt: skip
def test_what_was_announced_came(content, declared):
    assert verdict(content, declared, "text/html") is FILE


@pytest.mark.parametrize("declared", [None, "", ANY, "binary/octet-stream"])
@pytest.mark.parametrize(
    ("content", "served_as", "url", "expected"),
    [
        (NOTE, ANY, None, FILE),
        (NOTE, "application/xml", None, FILE),
        (b'{"crack": 2}', "application/json", None, FILE),
        (b'[{"error": 2}]', "application/json", None, FILE),
        (b"Wall", "text/plain", None, FILE),
        (b"The gauge said: not found. " * 20, "text/plain", None, FILE),
        (PAGE, ANY, None, FILE),  # a store keeps the type with the file
        (PAGE, "text/html", None, DOUBTFUL),
        (PAGE, "text/html", "https://store.example/a/offer.html?x=1", FILE),
        (LOGIN, "text/html", "https://store.example/login.html", NOT),
        (LOGIN, ANY, None, DOUBTFUL),
        (LOGIN, "text/html", None, NOT),
        (b"<html><body>502 Bad Gateway</body></html>", "text/html", None, NOT),
        (b"<h1>404 Not Found</h1>", "text/html", None, NOT),
        (b'{"error": {"code": 403}}', "application/json", None, NOT),
        (b'{"message": "Not Found"}', "application/json", None, NOT),
        (b'{"errors": []}', ANY, None, DOUBTFUL),
        (b'<?xml version="1.0"?><error>no</error>', "text/xml", None, NOT),
        (b'<?xml version="1.0"?><error>no</error>', ANY, None, DOUBTFUL),
        (b"Access denied", "text/plain", None, DOUBTFUL),
        (b"error code: 1020", "text/plain", None, DOUBTFUL),
        (S3_ERROR, ANY, None, NOT),
        (GCS_ERROR, None, None, NOT),
        (b"<Error><Code>NoSuchKey</Code></Error>", ANY, None, NOT),
    ],
)
def test_where_anything_was_announced_the_evidence_decides(
    content, served_as, url, expected, declared
):
    assert verdict(content, declared, served_as, url=url) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (PAGE, NOT), (LOGIN, NOT), (NOTE, NOT), (XHTML, NOT), (S3_ERROR, NOT),
        (b'{"crack": 2}', NOT), (b"Forbidden", NOT), (b"Wall", DOUBTFUL),
        ("Zugriff verweigert für Sie".encode("cp1252"), DOUBTFUL),
    ],
)  # fmt: skip
@pytest.mark.parametrize("declared", ["image/jpeg", "video/mp4", "audio/amr", "IMAGE/PNG; q=1"])
def test_text_is_no_picture_and_no_sound(content, expected, declared):
    assert verdict(content, declared, ANY) is expected
    assert verdict(content, None, ANY, is_sound=True) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [(PAGE, NOT), (S3_ERROR, NOT), (NOTE, DOUBTFUL), (b"Not found", DOUBTFUL)],
)
@pytest.mark.parametrize(
    "declared", ["application/pdf", "application/zip", f"{documents.OPEN}spreadsheetml.sheet"]
)
def test_a_page_is_no_document_of_another_kind(content, expected, declared):
    assert verdict(content, declared) is expected


def test_a_store_that_refuses_is_doubtful_only_where_mark_up_was_announced():
    assert verdict(S3_ERROR, "text/xml") is DOUBTFUL
    assert verdict(S3_ERROR, "text/plain") is NOT
