"""Pictures of one colour, and pictures like no other."""

import io
import threading

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


class HeldPicture:
    """A picture that the provider sends only once it may: until then its download hangs."""

    def __init__(self, colour: str = "grey") -> None:
        self.colour = colour
        self.is_asked_for, self.may_go = threading.Event(), threading.Event()

    def __call__(self) -> bytes:
        self.is_asked_for.set()
        self.may_go.wait(60)
        return picture(colour=self.colour)
