"""The judge of geometry, for all readers: whether points and run lengths can be those of an image.

What it refuses is never drawn: no coordinate makes Pillow or pycocotools fetch memory without bound. H x W
pixels.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

Size = Tuple[int, int]  # height, width

MIN_POINTS = 3
# A point farther outside than so many sides of the image is a mistake, not an object that goes on.
_MAX_SIDES_OUTSIDE = 16
_MAX_DEPTH = 4  # of lists in lists of points
# Run lengths as text (COCO's C code): 6 bits in a character, 5 of them of the value, lowest first.
_FIRST_CHARACTER, _MORE, _SIGN, _VALUE, _VALUE_BITS = 48, 0x20, 0x10, 0x1F, 5
_MAX_CHARACTERS = 8  # of one length
_MAX_LENGTH = 2**40
_NOT_NUMBERS = (TypeError, ValueError, OverflowError)


class FaultyShapeError(ValueError):
    """A shape that cannot be meant; the message goes on after its name."""


class NoAreaError(ValueError):
    """A shape without an area, which is left out and counted; the message is the reason."""


def stated_size(height: Any, width: Any) -> Tuple[Optional[int], Optional[int]]:
    """Height and width that a file states, as numbers or as text; None: it states none."""
    return _length(height), _length(width)


def _length(value: Any) -> Optional[int]:
    try:
        number = float(value)
        return int(number) if 0 < number == int(number) else None
    except _NOT_NUMBERS:
        return None


def rings_of(points: Any) -> List[np.ndarray]:
    """The polygons in whatever nesting a file has them.

    Args:
        points: [x, y, x, y, ...], [[x, y], ...], [{"x": x, "y": y}, ...], or lists of these.

    Returns:
        (N, 2) float64 x, y each, of any N.

    Raises:
        FaultyShapeError: it is none of these, or has an odd number of coordinates.
    """
    return _rings(points, 0)


def _rings(points: Any, depth: int) -> List[np.ndarray]:
    if isinstance(points, np.ndarray):
        points = points.tolist()
    if not isinstance(points, (list, tuple)) or depth > _MAX_DEPTH:
        raise FaultyShapeError(
            f"{short(points)} is no list of points such as [x, y, x, y, x, y] or [[x, y], [x, y], [x, y]]"
        )
    if len(points) == 0:
        return []
    if isinstance(points[0], Mapping):
        pairs = [[p.get("x"), p.get("y")] if isinstance(p, Mapping) else p for p in points]
        return [_numbers(pairs)]
    if not isinstance(points[0], (list, tuple, np.ndarray)):
        return [_numbers(points)]
    try:
        array = np.array(points, dtype=np.float64)
    except _NOT_NUMBERS:
        array = np.empty(0)
    if array.ndim == 2 and array.shape[1] == 2:
        return [array]
    return [ring for one in points for ring in _rings(one, depth + 1)]


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """(N, 2) float64 of a flat list, or of one of pairs."""
    try:
        array = np.array(values, dtype=np.float64)
    except _NOT_NUMBERS as error:
        raise FaultyShapeError(f"a coordinate of {short(values)} is no number") from error
    if array.size % 2:
        raise FaultyShapeError(f"{short(values)} has an odd number of coordinates")
    return array.reshape(-1, 2)


def plausible_rings(points: Any, size: Size) -> List[np.ndarray]:
    """The polygons of at least three points; see :func:`rings_of`.

    Raises:
        FaultyShapeError: besides, a coordinate is not finite or lies far outside of the image.
        NoAreaError: there is none.
    """
    rings = rings_of(points)
    for ring in rings:
        require_plausible(ring, size)
    rings = [ring for ring in rings if len(ring) >= MIN_POINTS]
    if not rings:
        raise NoAreaError("of less than three points")
    return rings


def require_plausible(points: np.ndarray, size: Size) -> None:
    """Raises FaultyShapeError unless (N, 2) x, y are finite and not far outside of the image."""
    if not np.isfinite(points).all():
        raise FaultyShapeError("a coordinate is no finite number")
    height, width = size
    margin = _MAX_SIDES_OUTSIDE * max(size)
    low, high = np.array([-margin, -margin]), np.array([width + margin, height + margin])
    outside = np.flatnonzero(((points < low) | (points > high)).any(axis=1))
    if len(outside):
        x, y = points[outside[0]]
        raise FaultyShapeError(
            f"its point ({x:g}, {y:g}) lies far outside of the image of {width}x{height} pixels"
        )


def mask_of_runs(rle: Any, size: Size) -> np.ndarray:
    """The mask of COCO's run lengths.

    Args:
        rle: "counts": lengths of the runs of 0 and 1 by turns, columns first, as a list or as COCO's
            text; "size": [height, width].
        size: of the image.

    Returns:
        (H, W) bool.

    Raises:
        FaultyShapeError: they are made for another size, or do not sum up to it.
    """
    height, width = size
    counts = rle.get("counts") if isinstance(rle, Mapping) else None
    own = rle.get("size") if isinstance(rle, Mapping) else None
    if counts is None or not isinstance(own, (list, tuple)) or len(own) != 2:
        raise FaultyShapeError(f"{short(rle)} is no RLE with counts and size")
    if stated_size(*own) != size:
        raise FaultyShapeError(
            f"its RLE is made for {own[1]}x{own[0]} pixels, its image has {width}x{height}"
        )
    lengths = run_lengths(counts)
    total = int(lengths.sum(dtype=np.float64))  # in integers the sum could wrap
    if total != height * width:
        raise FaultyShapeError(
            f"its run lengths sum to {total}, its image has {height * width} pixels"
        )
    return expand_runs(lengths).reshape(width, height).T


def expand_runs(lengths: np.ndarray) -> np.ndarray:
    """(sum of lengths,) bool: runs of False and True by turns."""
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def run_lengths(counts: Any) -> np.ndarray:
    """(N,) int64 lengths in 0 .. 2^40.

    Args:
        counts: a list of numbers, or COCO's text as str or bytes.

    Raises:
        FaultyShapeError: it is neither, or damaged.
    """
    if isinstance(counts, (str, bytes)):
        lengths = _lengths_of_text(counts)
    else:
        try:
            numbers = np.array(counts, dtype=np.float64)
        except _NOT_NUMBERS as error:
            raise FaultyShapeError(f"its run lengths {short(counts)} are no numbers") from error
        if numbers.ndim != 1 or not (np.isfinite(numbers) & (numbers % 1 == 0)).all():
            raise FaultyShapeError(f"its run lengths {short(counts)} are no list of whole numbers")
        lengths = numbers.clip(-1, 2 * _MAX_LENGTH).astype(np.int64)
    if ((lengths < 0) | (lengths > _MAX_LENGTH)).any():
        raise FaultyShapeError("its run lengths are damaged: one is below 0 or beyond any image")
    return lengths


def _lengths_of_text(text: Any) -> np.ndarray:
    """Differences to the length before the last, with a sign, in groups of characters."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    codes = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    ends = np.flatnonzero((codes & _MORE) == 0)
    if len(ends) == 0:
        return ends
    codes, sizes = codes[: ends[-1] + 1], np.diff(ends, prepend=-1)
    if sizes.max() > _MAX_CHARACTERS:
        raise FaultyShapeError("the text of its run lengths is damaged")
    starts = ends - sizes + 1
    shifts = _VALUE_BITS * (np.arange(len(codes)) - np.repeat(starts, sizes))
    values: np.ndarray = np.add.reduceat((codes & _VALUE) << shifts, starts)
    values -= np.where(codes[ends] & _SIGN, np.int64(1) << (_VALUE_BITS * sizes), 0)
    for first in (1, 2):
        values[first::2] = values[first::2].cumsum()
    return values


def short(value: Any) -> str:
    """A value for messages."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
