"""Videos: frames that are predicted like pictures, and the frames with their masks joined to a video again.

    masks/clip/000000.png ...     the labels of every frame, by its place in the video
    overlays/clip.mp4             the frames, half covered with the colours of their labels, at the times of the video

A frame is RGB, turned upright where the video says how it lies. YUV colours are those of BT.709 or BT.601, as the video says;
where it says nothing, of BT.709 from 720 rows on, as players have it. Sound is not copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.errors import DataError, UsageError, printable
from perpixel.files import new_file

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"})
OVERLAY = ".mp4"
HD = 720  # rows from which on a video that names no colours has those of BT.709
BT709, BT601 = 1, (5, 6)  # numbers of ITU-T H.273, table 4
CUT = 3  # frames, or hundredths of the length, that may lack at the end before a video counts as cut off
QUALITY = "18"  # constant rate factor of x264: hardly told from the frames
RGB_NAME = "rgb24"


def frame_name(name: str, frame: int) -> str:
    """The name of a frame's results: `clip/000012`."""
    return f"{name}/{frame:06d}"


def about_how_many(path: str) -> int:
    """The number of frames as the video's head has it, or follows from its length; 1 where it says neither, or is not read."""
    try:
        with _opened(path) as (_, stream):
            if stream.frames or not (stream.duration and stream.average_rate):
                return max(1, int(stream.frames))
            return max(1, int(stream.duration * stream.time_base * stream.average_rate))
    except (DataError, UsageError):
        return 1


class Frames:
    """Reads the frames of videos one after the other. One video is open at a time."""

    def __init__(self) -> None:
        self._path = ""
        self._frames: Iterator[NDArray[np.uint8]] = iter(())

    def read(self, path: str, frame: int) -> NDArray[np.uint8] | None:
        """The frame, (H, W, 3); None behind the last one. Frames are asked for in their order, beginning with 0.

        Raises DataError where the video cannot be read."""
        if frame == 0 or path != self._path:
            self._path, self._frames = path, (pixels for pixels, _ in frames_of(path))
        return next(self._frames, None)


def frames_of(path: str) -> Iterator[tuple[NDArray[np.uint8], Fraction]]:
    """Every frame of a video as RGB (H, W, 3), and the time in seconds at which it is shown.

    Raises DataError for a video that cannot be read, or ends before its end, after the frames before that place. Matroska files
    are read on behind damage, so there it is seen at the end alone."""
    import av

    count, ends, where = 0, Fraction(0), printable(path)
    with _opened(path) as (container, stream):
        step = 1 / (stream.average_rate or Fraction(25))
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise DataError(f"{where}: frame {count} is damaged; the frames before it are done.")
                shown = count * step if frame.pts is None else frame.pts * frame.time_base
                ends = max(ends, shown + step)
                yield _rgb(frame), shown
                count += 1
        except av.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise DataError(f"{where}: frame {count} cannot be read ({reason}); the frames before it are done.") from error
        if not count:
            raise DataError(f"{where}: has no frame.")
        length = _length(container, stream)
        if ends < length - CUT * max(step, length / 100):
            message = (
                f"ends after {float(ends):.2f} s of {float(length):.2f} s; it is cut off or damaged, and {count} frames are done."
            )
            raise DataError(f"{where}: {message}")


def _length(container: Any, stream: Any) -> Fraction:
    """Seconds that the pictures last, as the head of the file has it; 0 where it tells only of pictures and sound together."""
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    return Fraction(container.duration or 0, 1_000_000) if not container.streams.audio else Fraction(0)


def write_overlay(path: str, out: Path, name: str, masks: Iterable[NDArray[Any]], classes: ClassTable) -> Path:
    """Writes `out/NAME.mp4`, whole or not at all: each frame of the video with the colours of its mask (H, W), class ids.

    Colours are those of the class table in every frame. An odd side is one pixel longer, since video has even sides.
    Raises DataError where the size of frames changes, or the video cannot be read."""
    import av

    size: tuple[int, int] | None = None
    with new_file(out, f"{name}{OVERLAY}") as place, av.open(str(place), "w", format="mp4") as target:
        stream: Any = None
        for (frame, shown), labels in zip(frames_of(path), masks, strict=False):
            if stream is None:
                size = frame.shape[:2]
                stream = _stream(target, size)
            if frame.shape[:2] != size:
                raise DataError(f"{printable(path)}: the size of its frames changes, so no video is made; masks are written.")
            picture = draw.overlay(frame, labels, classes, legend=False)
            height, width = size
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            colours = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format=RGB_NAME)
            drawn = colours.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            drawn.colorspace, drawn.color_range = BT709, 1
            drawn.time_base, drawn.pts = stream.codec_context.time_base, round(shown / stream.codec_context.time_base)
            target.mux(stream.encode(drawn))
        if stream is not None:
            target.mux(stream.encode())
    return out / f"{name}{OVERLAY}"


def _stream(target: Any, size: tuple[int, int]) -> Any:
    """A stream of H.264, or of MPEG-4 where the installed FFmpeg cannot write that, in steps of 1/60,000 s."""
    import av

    try:
        stream = target.add_stream("libx264", options={"crf": QUALITY})
    except (av.FFmpegError, ValueError):  # built without x264
        stream = target.add_stream("mpeg4", options={"q": "3"})
    stream.height, stream.width = (side + side % 2 for side in size)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, 60_000)
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = 1
    return stream


def _rgb(frame: Any) -> NDArray[np.uint8]:
    standard = frame.colorspace
    of_709 = standard == BT709 or (standard not in BT601 and frame.height >= HD)
    colours = frame.reformat(format=RGB_NAME, src_colorspace="ITU709" if of_709 else "ITU601")
    pixels = colours.to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90))) if frame.rotation else pixels


class _opened:
    """The container and its first video stream. Raises DataError for a file that is no video, UsageError without PyAV."""

    def __init__(self, path: str) -> None:
        try:
            import av
        except ImportError as error:
            raise UsageError(f'{printable(path)}: videos are read by PyAV; pip install "perpixel[video]".') from error
        where = printable(path)
        try:
            self._container = av.open(path)
        except FileNotFoundError as error:
            raise DataError(f"{where}: there is no such file.") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DataError(f"{where}: is no video that can be read ({getattr(error, 'strerror', None) or error}).") from error
        if not self._container.streams.video:
            self._container.close()
            raise DataError(f"{where}: has no pictures; name a video.")

    def __enter__(self) -> tuple[Any, Any]:
        stream = self._container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}  # else damaged frames are guessed
        return self._container, stream

    def __exit__(self, *_: object) -> None:
        self._container.close()
