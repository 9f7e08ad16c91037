"""Sounds that need no encoder, and odd ones; `samples.sound` makes those of phones."""

import io
import random
import struct
import wave
from collections.abc import Callable
from pathlib import Path

from tests.support import samples


def tone(seconds: float = 0.5) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(struct.pack("<h", 1000) * int(8000 * seconds))
    return out.getvalue()


def packed(
    folder: Path, codec: str, container: str, seconds: float = 2.0, rate: int = 8000
) -> bytes:
    """Half silence, half a tone, as bytes."""
    return samples.sound(folder / "sound", codec, container, seconds, rate).read_bytes()


def bare_mp3(folder: Path, seconds: float = 2.0, rate: int = 16000) -> bytes:
    """Frames and nothing else."""
    path = folder / "bare.mp3"
    plain = {"write_xing": "0", "id3v2_version": "0"}
    return samples.sound(path, "libmp3lame", "mp3", seconds, rate, **plain).read_bytes()


def rate_changes(folder: Path) -> bytes:
    """An MP3 put together from one of 16 kHz and one of 44.1 kHz, two seconds each."""
    return bare_mp3(folder, rate=16000) + bare_mp3(folder, rate=44100)


def wave64(samples_16: bytes, rate: int = 8000) -> bytes:
    """Sony's WAV for long recordings: sizes of 64 bits, and names of 16 bytes."""
    tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    chunks = b"fmt " + tail + struct.pack("<Q", 24 + len(form)) + form
    chunks += b"data" + tail + struct.pack("<Q", 24 + len(samples_16)) + samples_16
    riff = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
    return riff + struct.pack("<Q", 40 + len(chunks)) + b"wave" + tail + chunks


def rf64(wav: bytes) -> bytes:
    """The same WAV as broadcasters write those of more than four gigabytes."""
    at = wav.index(b"data")
    size = len(wav) - at - 8
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, len(wav) + 28, size, size // 2, 0)
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + ds64
    return head + wav[12:at] + b"data" + b"\xff" * 4 + wav[at + 8 :]


def gsm(seconds: float = 2.0) -> bytes:
    """GSM 6.10 without any header: frames of 20 ms that begin with the same four bits."""
    noise = random.Random(6)
    return b"".join(
        bytes([0xD0 | noise.randrange(16)]) + noise.randbytes(32) for _ in range(int(50 * seconds))
    )


def gsm_wav(seconds: float = 2.0) -> bytes:
    """GSM 6.10 in a WAV, as telephone systems record: two frames of 32.5 bytes in each block."""
    data = random.Random(6).randbytes(int(25 * seconds) * 65)
    form = struct.pack("<HHIIHHHH", 0x31, 1, 8000, 1625, 65, 0, 2, 320)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


# Voicemails and recordings as they have really been sent: bytes, type, ending of the original.
ODD: dict[str, tuple[Callable[[Path], bytes], str, str]] = {
    "layer II": (lambda f: packed(f, "mp2", "mp2", rate=16000), "audio/mp2", "mp2"),
    "AIFF": (lambda f: packed(f, "pcm_s16be", "aiff"), "audio/aiff", "aiff"),
    "AIFC": (lambda f: packed(f, "pcm_mulaw", "aiff"), "audio/aiff", "aiff"),
    "AU": (lambda f: packed(f, "pcm_mulaw", "au"), "audio/basic", "au"),
    "CAF": (lambda f: packed(f, "pcm_s16le", "caf"), "audio/x-caf", "caf"),
    "Wave64": (lambda f: wave64(tone(2.0)[44:]), "audio/x-w64", "w64"),
    "RF64": (lambda f: rf64(tone(2.0)), "audio/wav", "wav"),
    "zeros before MP3": (lambda f: bytes(5000) + bare_mp3(f), "audio/mpeg", "mp3"),
    "rest of a frame before MP3": (lambda f: bare_mp3(f)[61:], "audio/mpeg", "mp3"),
    "rest of a frame before AAC": (
        lambda f: packed(f, "aac", "adts", rate=16000)[5:], "audio/aac", "aac",
    ),
    "IMA ADPCM": (lambda f: packed(f, "adpcm_ima_wav", "wav"), "audio/wav", "wav"),
    "MS ADPCM": (lambda f: packed(f, "adpcm_ms", "wav"), "audio/wav", "wav"),
    "GSM": (lambda _: gsm(), "audio/x-gsm", "gsm"),
    "GSM in WAV": (lambda _: gsm_wav(), "audio/wav", "wav"),
    "G.726": (lambda f: packed(f, "g726", "wav"), "audio/wav", "wav"),
    "AMR": (lambda f: packed(f, "libopencore_amrnb", "amr"), "audio/amr", "amr"),
    "AMR in 3GP": (lambda f: packed(f, "libopencore_amrnb", "3gp"), "audio/3gpp", "3gp"),
    "transport stream": (
        lambda f: packed(f, "aac", "mpegts", rate=16000), "audio/mp2t", "ts",
    ),
    "program stream": (lambda f: packed(f, "mp2", "mpeg", rate=16000), "audio/x-mpeg-ps", "mpg"),
    "FLV": (lambda f: packed(f, "libmp3lame", "flv", rate=22050), "audio/x-flv", "flv"),
    "Matroska": (lambda f: packed(f, "libopus", "matroska", rate=48000), "audio/x-matroska", "mkv"),
    "changes its rate": (rate_changes, "audio/mpeg", "mp3"),
}  # fmt: skip
