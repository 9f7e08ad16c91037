"""The things people send that are no pictures: a report, a business card, a page by mistake."""


def pdf(customer: str, wall: str) -> bytes:
    """One page of an inspection report; a whole PDF, small enough to be written by hand."""
    lines = (
        "HOME INSPECTION REPORT",
        "",
        f"Prepared for: {customer}",
        "Section 4: Foundation",
        "",
        f"4.1  Wall type: {wall}. Crack observed, full height, 1/8 inch at the top.",
        "4.2  Staining below the crack suggests seepage in wet weather.",
        "4.3  Recommend evaluation by a foundation contractor before closing.",
        "",
        "This report is not a warranty.",
    )
    shown = "".join(f"({_escaped(line)}) Tj T*\n" for line in lines)
    page = f"BT /F1 12 Tf 72 720 Td 18 TL\n{shown}ET\n".encode("latin-1", "replace")
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%sendstream" % (len(page), page),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % start
    return bytes(out)


def vcard() -> bytes:
    """A business card as phones share it."""
    return (
        b"BEGIN:VCARD\r\nVERSION:3.0\r\nN:Ferrara;Lou;;;\r\nFN:Lou Ferrara\r\n"
        b"ORG:Ferrara Plumbing\r\nTEL;TYPE=CELL:+16175550171\r\nEND:VCARD\r\n"
    )


def sign_in_page() -> bytes:
    """What comes instead of a photo when a gateway wants a login: a page, and status 200."""
    return (
        b"<!doctype html><html><head><title>Sign in</title></head>"
        b"<body><h1>Please sign in to view this picture message</h1></body></html>"
    )


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
