"""Audio player: the playback rate of each user, and template filters for the player."""

from flask import Blueprint, abort, request

from viewer.extensions import db
from viewer.models import MediaAttachment, Message
from viewer.web.access import the_user
from viewer.web.wording import plays, shown_files

bp = Blueprint("player", __name__)

RATES = (1.0, 1.25, 1.5, 2.0)
BARS = 100
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # a: silence, z: the loudest moment


@bp.post("/account/playback-rate")
def set_rate() -> tuple[str, int]:
    """Save this user's playback rate, for all devices."""
    rate = request.form.get("rate", type=float)
    if rate not in RATES:
        abort(400, f"The speed is one of {', '.join(f'{one:g}' for one in RATES)}.")
    the_user().playback_rate = rate
    db.session.commit()
    return "", 204


@bp.app_template_filter()
def wave(media: MediaAttachment) -> str:
    """Encode the waveform in a hundred letters: small enough to inline in the page."""
    peaks: list[int] = media.peaks or []
    step = max(1, len(peaks) // BARS)
    return "".join(
        LETTERS[max(peaks[at : at + step]) * (len(LETTERS) - 1) // 100]
        for at in range(0, len(peaks), step)
    )


@bp.app_template_filter()
def recording_of(message: Message) -> MediaAttachment | None:
    """Return the recording of a call that its transcript belongs to, if it can be played."""
    return next(
        (
            media
            for media in shown_files(message)
            if media.role is MediaAttachment.Role.RECORDING and media.is_stored and plays(media)
        ),
        None,
    )
