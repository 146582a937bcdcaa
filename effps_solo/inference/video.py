"""Videos and cameras: frames in, a video of overlays out, with colours that stay with their objects."""

import json
import logging
import os
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, ContextManager, Iterator, Optional, Tuple, Union

import cv2
import numpy as np
from tqdm import tqdm

from effps_solo.utils.errors import UserError

from .load import PanopticModel
from .tracking import Tracker

logger = logging.getLogger(__name__)

_CODEC = "mp4v"
_DEFAULT_FPS = 25.0  # of cameras that do not tell theirs


class Frames:
    """The frames of a video or a camera, one after the other.

    Attributes:
        fps: frames a second.
        total: how many there are, as far as the file tells.
    """

    def __init__(self, source: Union[Path, int]) -> None:
        """Of a file, or of the camera with a number; raises UserError when it cannot be opened."""
        self.source = source
        if isinstance(source, Path) and not source.is_file():
            raise UserError(f"{source} does not exist")
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else os.fspath(source))
        if not self._capture.isOpened():
            name = f"camera {source}" if isinstance(source, int) else source
            raise UserError(f"{name} cannot be opened as a video")
        total = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total: Optional[int] = total if total > 0 else None
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps < 1000 else _DEFAULT_FPS

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB."""
        try:
            while (read := self._capture.read())[0]:
                yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
        finally:
            self._capture.release()


@contextmanager
def video_file(path: Path, size: Tuple[int, int], fps: float) -> Iterator[cv2.VideoWriter]:
    """A writer of frames of (H, W), which the file then holds up to the last one, whatever happens.

    Raises UserError when the file cannot be written.
    """
    codec = cv2.VideoWriter.fourcc(*_CODEC)
    writer = cv2.VideoWriter(os.fspath(path), codec, fps, size[::-1])
    if not writer.isOpened():
        raise UserError(f"cannot write {path}; is there space and permission?")
    try:
        yield writer
    finally:
        writer.release()


def predict_video(
    model: PanopticModel,
    source: Union[Path, int],
    folder: Path,
    *,
    name: str = "",
    labels: bool = True,
    save_json: bool = False,
    max_frames: Optional[int] = None,
) -> int:
    """Write NAME_overlay.mp4, frame by frame, so that memory does not grow with the video.

    Unfinished it is called NAME_overlay.part.mp4, a video of the frames so far.

    Args:
        source: a file, or the number of a camera, which is read until Ctrl-C.
        folder: for the results; exists.
        name: NAME; "" for that of the file, or cameraN.
        labels: draw classes and scores.
        save_json: write NAME_segments.jsonl, too, with a line for every frame: its number, its time in
            seconds and its segments, things with the number of their ``track``.
        max_frames: stop behind so many.

    Returns:
        how many frames were written.

    Raises:
        UserError: the source cannot be read, or the results cannot be written.
    """
    name = name or (f"camera{source}" if isinstance(source, int) else source.stem)
    part, target = folder / f"{name}_overlay.part.mp4", folder / f"{name}_overlay.mp4"
    frames, tracker, count = Frames(source), Tracker(), 0
    total = min(filter(None, (frames.total, max_frames)), default=None)
    with ExitStack() as stack:
        lines = stack.enter_context(_lines_of(folder / f"{name}_segments.jsonl", save_json))
        if isinstance(source, int):
            stack.enter_context(suppress(KeyboardInterrupt))  # the way to end it
        for frame in tqdm(islice(frames, max_frames), desc=name, total=total, unit="frame"):
            result = model(frame)
            tracks = tracker.update(result)
            picture = result.overlay(labels=labels, legend=False, shades=tracks)
            if count == 0:
                video = stack.enter_context(video_file(part, picture.shape[:2], frames.fps))
            video.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            segments = [
                {**vars(s), "score": round(s.score, 4), "track": tracks.get(s.id)}
                for s in result.segments
            ]
            seconds = round(count / frames.fps, 3)
            entry = {"frame": count, "seconds": seconds, "segments": segments}
            lines.write(json.dumps(entry) + "\n")
            count += 1
    if count == 0:
        raise UserError(f"{source} holds no frame that can be read")
    if frames.total and max_frames is None and count < frames.total:
        logger.warning("%s: only %d of %d frames can be read", source, count, frames.total)
    os.replace(part, target)
    return count


def _lines_of(path: Path, wanted: bool) -> ContextManager[IO[str]]:
    """An open file that is not there unless it is ``wanted``."""
    try:
        return open(path if wanted else os.devnull, "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
