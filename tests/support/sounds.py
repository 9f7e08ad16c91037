"""Sounds that need no encoder; `samples.sound` makes those of phones."""

import io
import struct
import wave


def tone(seconds: float = 0.5) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<h", 1000) * int(8000 * seconds))
    return out.getvalue()
