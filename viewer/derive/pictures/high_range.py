"""Films in HDR (BT.2020 with PQ or HLG, as phones film by default): their colours for any screen.

FFmpeg's scaler converts them, with a table that takes it two seconds to compute, once for each
reformatter; a frame then takes 2 ms. Without it they are grey and flat.
"""

from typing import TypedDict

from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc

CURVES = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})


class Target(TypedDict, total=False):
    """Keyword arguments of VideoReformatter.reformat()."""

    dst_colorspace: Colorspace
    dst_color_trc: ColorTrc
    dst_color_primaries: ColorPrimaries


_OF_VIDEO: Target = {
    "dst_colorspace": Colorspace.ITU709,
    "dst_color_trc": ColorTrc.BT709,
    "dst_color_primaries": ColorPrimaries.BT709,
}
_OF_PICTURES: Target = {
    "dst_color_trc": ColorTrc.IEC61966_2_1,
    "dst_color_primaries": ColorPrimaries.BT709,
}


def is_high_range(frame: VideoFrame) -> bool:
    return frame.color_trc in CURVES


def for_video(frame: VideoFrame) -> Target:
    """What a film's copy is converted to: nothing, unless it is HDR."""
    return _OF_VIDEO if is_high_range(frame) else {}


def for_pictures(frame: VideoFrame) -> Target:
    """What a poster is converted to: sRGB, if the film is HDR."""
    return _OF_PICTURES if is_high_range(frame) else {}
