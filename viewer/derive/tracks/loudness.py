"""The waveform of a recording: how loud it is in each of its parts."""

from array import array

from av.audio.frame import AudioFrame

from viewer.derive.tracks.resampler import Resampler

PEAKS = 200

_RATE = 8000  # enough for a picture of loudness
_STEP = 80  # samples in one entry: 10 ms


class Loudness:
    """Takes the frames of a recording in turn."""

    def __init__(self) -> None:
        self._resampler = Resampler("s16", "mono", _RATE)
        self._rest = array("h")
        self._loudest = array("H")

    @property
    def changes(self) -> int:
        """How often sample rate or channels changed on the way."""
        return self._resampler.changes

    def take(self, frame: AudioFrame) -> None:
        self._measure(self._resampler.take(frame))

    def end(self) -> None:
        self._measure(self._resampler.end())

    def _measure(self, pieces: list[AudioFrame]) -> None:
        rest = self._rest
        for piece in pieces:
            rest.frombytes(bytes(piece.planes[0])[: piece.samples * 2])
        whole = len(rest) - len(rest) % _STEP
        for at in range(0, whole, _STEP):
            part = rest[at : at + _STEP]
            self._loudest.append(max(max(part), -min(part)))
        del rest[:whole]

    def peaks(self) -> list[int]:
        """The loudest moment of each of 200 equal parts; the loudest of all is 100.

        A recording whose loudest moment is a whisper (1 % of the scale) stays low.
        """
        if not self._loudest:
            return [0] * PEAKS
        top = max(max(self._loudest), 328)
        count = len(self._loudest)
        cuts = [(n * count // PEAKS, max((n + 1) * count // PEAKS, 1)) for n in range(PEAKS)]
        return [
            round(100 * max(self._loudest[min(start, end - 1) : end]) / top) for start, end in cuts
        ]
