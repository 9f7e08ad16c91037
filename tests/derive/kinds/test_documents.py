"""Documents keep the ending of what they are: else nobody can open them by tapping."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import documents
from tests.support.documents import CARD, GPX, KML, MAIL, NOTE, ODF, OPEN, PAGE, TABLE, XHTML
from viewer.derive import INLINE_TYPES, KINDS, sniff

MACROS = "application/vnd.ms-{}.macroEnabled.12"
IWORK = {"Index/Document.iwa": "x", "Metadata/Properties.plist": "x"}


@pytest.mark.parametrize(
    ("content", "extension"),
    [
        (documents.office(f"{OPEN}wordprocessingml.document", "word"), "docx"),
        (documents.office(f"{OPEN}wordprocessingml.template", "word"), "dotx"),
        (documents.office(MACROS.format("word.document").removesuffix(".12"), "word"), "docm"),
        (documents.office(f"{OPEN}spreadsheetml.sheet", "xl"), "xlsx"),
        (documents.office(f"{OPEN}spreadsheetml.template", "xl"), "xltx"),
        (documents.office(MACROS.format("excel.sheet").removesuffix(".12"), "xl"), "xlsm"),
        (documents.office(f"{OPEN}presentationml.presentation", "ppt"), "pptx"),
        (documents.office(f"{OPEN}presentationml.slideshow", "ppt"), "ppsx"),
        (documents.office("application/unheard-of", "word"), "docx"),
        (documents.self_described(f"{ODF}text"), "odt"),
        (documents.self_described(f"{ODF}spreadsheet"), "ods"),
        (documents.self_described(f"{ODF}presentation"), "odp"),
        (documents.self_described("application/epub+zip"), "epub"),
        (documents.packed({"doc.kml": KML}), "kmz"),
        (documents.packed({"pass.json": "{}", "icon.png": "x"}), "pkpass"),
        (documents.packed({"Index/Slide.iwa": "x", **IWORK}), "key"),
        (documents.packed({"photo.jpg": "x"}), "zip"),
        (documents.packed({"inside.docx": documents.office("x", "word")}), "zip"),
        (documents.packed({"AndroidManifest.xml": "x", "classes.dex": "x"}), "zip"),
        (documents.packed({}), "zip"),
        (documents.ole("WordDocument"), "doc"),
        (documents.ole("Workbook"), "xls"),
        (documents.ole("PowerPoint Document"), "ppt"),
        (documents.ole("__properties_version1.0", "WordDocument"), "msg"),
        (documents.ole("WordDocument", "ObjectPool", "Workbook"), "doc"),
        (documents.ole("Something"), "bin"),
        (rb"{\rtf1\ansi Wall.\par}", "rtf"),
        (b"\r\n\r\n%PDF-1.4\n1 0 obj<<>>endobj\n%%EOF", "pdf"),
        (b"\0" * 900 + b"%PDF-1.7\n", "pdf"),
        (b"We say: a PDF begins with %PDF-1.4\n", "txt"),
        (b"\0" * 1100 + b"%PDF-1.7\n", "bin"),
        (b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", "ics"),
        (b"BEGIN:IMELODY\r\nVERSION:1.2\r\n", "imy"),
        (GPX, "gpx"),
        (b'<?xml version="1.0"?><gpx:gpx xmlns:gpx="http://a.example"/>', "gpx"),
        (KML, "kml"),
        (NOTE, "xml"),
        (b"<offer><sum>1200</sum></offer>\n", "xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (documents.SMIL, "smil"),
        (b'<!DOCTYPE smil PUBLIC "-//W3C//DTD SMIL 1.0//EN" "x.dtd"><smil/>', "smil"),
        (PAGE, "html"),
        (MAIL, "eml"),
        (b"From: me\nTo: you\n\nNo mail, but a note like one.\n", "txt"),
        (b"Meet us: today\r\n", "txt"),
        ("Caf\xe9 wall".encode("mac-roman"), "txt"),
        ("Der Keller ist na\xdf.\r\n".encode("cp1252") + b"\x1a", "txt"),
        ("Wall".encode("utf-16-le"), "txt"),
        ("Wall".encode("utf-16-be"), "txt"),
    ],
)  # fmt: skip
def test_the_bytes_alone_say_what_it_is(content, extension):
    kind = sniff(content)

    assert (kind.extension, kind.media_type) == (extension, "document")
    assert kind.mime_type not in INLINE_TYPES


@pytest.mark.parametrize(
    ("content", "declared", "name", "extension"),
    [
        *((TABLE.encode(how), "text/csv", None, "csv")
          for how in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252",
                      "iso8859-15")),
        *((CARD.encode(how), declared, None, "vcf")
          for how in ("utf-8", "latin-1", "mac-roman", "utf-16")
          for declared in ("text/x-vcard", "application/octet-stream", None)),
        (TABLE.encode("mac-roman", "replace"), "text/comma-separated-values", None, "csv"),
        ("見積;1200\r\n".encode("shift-jis"), "text/csv; charset=shift_jis", None, "csv"),
        (TABLE.encode(), "application/octet-stream", "prices.CSV", "csv"),
        (TABLE.encode(), "application/vnd.ms-excel", "prices", "csv"),
        (b"a\tb\r\n1\t2\r\n", "application/vnd.ms-excel", None, "tsv"),
        (b"a\tb\r\n1\t2\r\n", "text/tab-separated-values", None, "tsv"),
        (b"[wall];12\r\n", "text/csv", None, "csv"),
        (b"# Wall\n", "text/markdown", None, "md"),
        (PAGE, "text/csv", "prices.csv", "html"),
        (b"Wall", "text/html", "a.html", "txt"),
        (b"Wall", "text/vcard", "a.vcf", "txt"),
        (b"Wall", "application/x-msdownload", "a.exe", "txt"),
        (XHTML, "application/xhtml+xml", None, "xhtml"),
        (XHTML, "text/html", None, "html"),
        (b"<offer>", "application/xml", None, "xml"),
        (b"Subject: Wall\r\n\r\nWet.", "message/rfc822", None, "eml"),
        (documents.ole("Something"), "application/msword", None, "doc"),
        (documents.ole("Something"), None, "list.xls", "xls"),
        (documents.ole("Something"), None, "setup.msi", "bin"),
        (documents.ole("WordDocument", "Workbook"), "application/vnd.ms-excel", None, "xls"),
        (documents.ole("Workbook"), "application/msword", None, "xls"),
        (documents.ole("EncryptedPackage"), f"{OPEN}wordprocessingml.document", None, "docx"),
        (documents.packed(IWORK), "application/vnd.apple.pages", None, "pages"),
        (documents.packed(IWORK), None, "sums.numbers", "numbers"),
        (documents.packed(IWORK), None, None, "zip"),
        (documents.packed({"photo.jpg": "x"}), f"{OPEN}wordprocessingml.document", None, "zip"),
        (documents.packed({"photo.jpg": "x"}), "application/x-msdownload", "a.exe", "zip"),
        (documents.office(f"{OPEN}spreadsheetml.sheet", "xl"), "application/zip", "a.zip", "xlsx"),
        (documents.packed({"a.bin": bytes(90_000)}, stored=("a.bin",)),
         f"{OPEN}spreadsheetml.sheet", None, "xlsx"),
        (b"Some words, %PDF-1.4", "application/pdf", None, "pdf"),
        (b"\x03\x05\x6a\0a.wap\0", "application/vnd.wap.wmlc", None, "wbxml"),
    ],
)  # fmt: skip
def test_what_others_say_chooses_among_what_the_bytes_allow(content, declared, name, extension):
    assert sniff(content, declared, name).extension == extension


def test_a_zip_that_was_written_as_a_stream_is_known_too():
    content = documents.streamed(documents.office(f"{OPEN}spreadsheetml.sheet", "xl"))

    assert content[6] & 8
    assert sniff(content).extension == "xlsx"


RUNS = {
    "exe",
    "com",
    "bat",
    "cmd",
    "scr",
    "msi",
    "apk",
    "jar",
    "js",
    "vbs",
    "ps1",
    "sh",
    "hta",
    "lnk",
}


@settings(max_examples=300, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=400),
        st.text(max_size=200).map(str.encode),
        st.builds(
            lambda start, rest: start + rest,
            st.sampled_from([b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"), b"<", b"{", b"MZ"]),
            st.binary(max_size=300),
        ),
    ),
    declared=st.one_of(
        st.sampled_from(sorted(KINDS)),
        st.sampled_from(["application/x-msdownload", "application/java-archive", "a/b;c=d", ""]),
        st.text(max_size=30),
    ),
    name=st.one_of(st.sampled_from(sorted(RUNS)).map("a.{}".format), st.text(max_size=30)),
)
def test_no_word_of_others_makes_a_file_one_that_runs_or_a_page(content, declared, name):
    kind = sniff(content, declared, name)

    assert kind.extension not in RUNS
    assert kind.mime_type not in INLINE_TYPES or kind == sniff(content)
    assert not kind.is_web_page or sniff(content).is_web_page
