"""Bring decoded sound into one shape."""

from av.audio.format import AudioFormat
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

_LAYOUTS = ("mono", "stereo", "2.1", "quad", "5.0", "5.1", "6.1", "7.1")  # by number of channels


class Resampler:
    """Format, layout and rate that are wanted, whatever comes in.

    Recordings put together from several change their own on the way. FFmpeg's resampler holds on
    to the first, so each change gets a new one.
    """

    def __init__(self, format_: AudioFormat | str, layout: str, rate: int) -> None:
        self.changes = -1  # of the shape that comes in; the first is none
        self._wanted = format_, layout, rate
        self._shape: tuple[str, str, int] | None = None
        self._inner: AudioResampler | None = None

    def take(self, frame: AudioFrame) -> list[AudioFrame]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        before: list[AudioFrame] = []
        if shape != self._shape or self._inner is None:
            before = self.end()
            self._inner, self._shape = AudioResampler(*self._wanted), shape
            self.changes += 1
        return before + self._inner.resample(frame)

    def end(self) -> list[AudioFrame]:
        """What is held back."""
        return self._inner.resample(None) if self._inner is not None else []


def with_layout(frame: AudioFrame) -> AudioFrame:
    """The frame, saying which channel is which: some files do not, and two resamplers in turn
    would fall out over it.
    """
    layout = frame.layout
    if not layout.name.endswith("channels") or layout.nb_channels > len(_LAYOUTS):
        return frame
    named = AudioFrame(frame.format.name, _LAYOUTS[layout.nb_channels - 1], frame.samples)
    for ours, theirs in zip(named.planes, frame.planes, strict=True):
        content = bytes(theirs)[: ours.buffer_size]
        ours.update(content.ljust(ours.buffer_size, b"\0"))
    named.sample_rate, named.pts, named.time_base = frame.sample_rate, frame.pts, frame.time_base
    return named
