"""Everything held about a customer as a ZIP: for people, for programs, and the originals."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from flask import render_template

from viewer.models import MediaAttachment
from viewer.office.disclosure import Disclosure, display_of
from viewer.web.formatting import local
from viewer.web.media import zips

State = MediaAttachment.State


@dataclass(frozen=True, slots=True)
class Archive:
    """What `zips` makes an archive of."""

    entries: list[zips.Entry]
    texts: Mapping[str, str | bytes]
    file_name: str


def archive_of(made: Disclosure) -> Archive:
    names = {media.id: name for media, name in made.files}
    problems = {media.id: words for media, _ in made.files if (words := _problem(media))}
    index = render_template(
        "customers/disclosure.html",
        made=made,
        whose=display_of(made),
        names=names,
        problems=problems,
    )
    return Archive(
        [zips.Entry(media, name, problems.get(media.id)) for media, name in made.files],
        {
            "index.html": index,
            "data.json": made.data(),
            **{f"deliveries/{name}": body for name, body in made.deliveries},
        },
        f"Everything held, {local(made.made_at):%Y-%m-%d} {uuid.uuid4().hex[:6]}.zip",
    )


def _problem(media: MediaAttachment) -> str | None:
    """Why its bytes are not in the archive; None if they are."""
    if media.purged_at is not None:
        return "it was deleted for good"
    if media.downloaded_at is None:
        return "it never came"
    return None if media.state is not State.DAMAGED else "its bytes are not those that came"
