"""Pictures of one colour, and pictures like no other."""

import io

from PIL import Image


def picture(
    width: int = 900,
    height: int = 600,
    colour: str | tuple[int, int, int] = "grey",
    kind: str = "JPEG",
    **options: object,
) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, kind, **options)
    return out.getvalue()


def noise(width: int, height: int, sigma: float, kind: str = "JPEG", **options: object) -> bytes:
    """No two are alike."""
    out = io.BytesIO()
    Image.effect_noise((width, height), sigma).convert("RGB").save(out, kind, **options)
    return out.getvalue()
