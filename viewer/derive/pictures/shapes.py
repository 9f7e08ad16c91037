"""How large the copies of a picture are, also of a strip: a screenshot of a whole page, a seam.

Shrunk by its longer side alone, a screenshot of 1170 x 14000 has 171 pixels across on the screen,
and a strip of 20000 x 100 a thumbnail of two pixels.
"""

from viewer.derive.types import PREVIEW_SIDE, THUMBNAIL_SIDE

LONGEST_SIDE = 4 * PREVIEW_SIDE  # of the preview of a strip
MOST_TIMES = 4  # as long as wide, at most, is a thumbnail
_LEGIBLE = PREVIEW_SIDE // 3  # pixels that the shorter side of a preview keeps, if it has them


def preview_box(width: int, height: int) -> tuple[int, int]:
    """What the preview has to fit into."""
    short, long = sorted((width, height))
    scale = min(_LEGIBLE / short, LONGEST_SIDE / long)
    side = max(PREVIEW_SIDE, round(long * min(1.0, scale)))
    return (side, side)


def thumbnail_crop(width: int, height: int) -> tuple[int, int, int, int] | None:
    """The middle of a strip, as its thumbnail shows it; None if that shows all."""
    across, high = min(width, height * MOST_TIMES), min(height, width * MOST_TIMES)
    if (across, high) == (width, height):
        return None
    left, top = (width - across) // 2, (height - high) // 2
    return left, top, left + across, top + high


THUMBNAIL_BOX = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
