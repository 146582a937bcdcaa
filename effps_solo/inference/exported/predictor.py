"""Prediction on single images with an exported model."""

import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from effps_solo.utils.errors import UserError

from .description import ModelDescription, Size
from .sessions import Session, open_session


class ExportedPredictor:
    """An exported model behind one call: image in, panoptic map and segments out.

    Attributes:
        image_format: order of the channels that it wants, "RGB" or "BGR".
        classes: by contiguous id.
        confidence_threshold: 0; things below the threshold that the graph was made with are void.
    """

    confidence_threshold = 0.0

    def __init__(self, session: Session, description: ModelDescription) -> None:
        self.session = session
        self.description = description
        self.image_format = description.image_format
        self.classes = description.classes

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """
        Args:
            image: (H, W, 3) uint8 in ``image_format``.
            confidence_threshold: things of a lower score become void; None: the graph's alone.

        Returns:
            panoptic_seg (H, W) int32, 0 is void, and Detectron2's segments_info with contiguous
            category ids.

        Raises:
            UserError: the model was exported for images of another shape.
        """
        size = (int(image.shape[0]), int(image.shape[1]))
        expected = self.description.output_size
        # The graph would squeeze an image of another shape.
        if expected and abs(size[0] * expected[1] - size[1] * expected[0]) >= max(size):
            raise UserError(
                f"the image has {size[0]}x{size[1]} pixels, the model was exported for "
                f"{expected[0]}x{expected[1]} or that shape in another size; export it with "
                f"--image-size {size[0]} {size[1]}, or with --any-size"
            )
        outputs = self.session(graph_input(image, self.description))
        panoptic_seg, category_ids, scores, areas, valid = outputs
        things = [c.isthing for c in self.classes]
        segments = segments_of(category_ids, scores, areas, valid, things)
        if panoptic_seg.shape != size:
            cut = panoptic_seg[: size[0], : size[1]]
            panoptic_seg = _nearest(panoptic_seg, size) if expected else cut
            segments = recounted(segments, panoptic_seg)
        return without_unsure_things(panoptic_seg, segments, confidence_threshold or 0.0)


def load_exported(
    path: Union[str, "os.PathLike[str]"],
    threads: int = 0,
    backend: Optional[str] = None,
    precision: Optional[str] = None,
    allow_unsafe: bool = False,
) -> ExportedPredictor:
    """Open what ``effps-solo export`` wrote.

    Args:
        path: .onnx, .xml or .pt2.
        threads: of the CPU; 0: the runtime decides.
        backend: "onnx" for .onnx, "openvino" for .xml and .onnx, "torch" for .pt2; None: by the suffix.
        precision: "fp32" or "bf16", of OpenVINO; None: its choice, bf16 where the processor has units
            for it. The others compute in fp32.
        allow_unsafe: open a .pt2 that can run code, too; only for files that you trust.

    Raises:
        UserError: no such file, one not made by ``effps-solo export``, one that can run code, no
            backend for it, or one without that precision.
        ModuleNotFoundError: the runtime is not installed.
    """
    session, text = open_session(Path(path), threads, backend, precision, allow_unsafe)
    return ExportedPredictor(session, ModelDescription.from_json(text, os.fspath(path)))


def graph_input(image: np.ndarray, description: ModelDescription) -> np.ndarray:
    """(H, W, 3) uint8 -> the (h, w, 3) that the graph wants: resized, or for any size padded."""
    if description.input_size is not None:
        return resized_image(image, description.input_size)
    unit = description.size_divisor
    height, width = (max(-(-side // unit) * unit, description.min_side) for side in image.shape[:2])
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    padded = np.empty((height, width, 3), dtype=np.uint8)
    padded[:] = description.padding
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def resized_image(image: np.ndarray, size: Size) -> np.ndarray:
    """``image`` at (h, w), interpolated as Detectron2's ResizeTransform does."""
    if image.shape[:2] != size:
        image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    return np.ascontiguousarray(image)


def segments_of(
    category_ids: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    valid: np.ndarray,
    things: Sequence[bool],
) -> List[Dict[str, Any]]:
    """segments_info from the graph's table; the row i is the segment i + 1."""
    return [
        {
            "id": int(row) + 1,
            "category_id": int(category_ids[row]),
            "isthing": things[category_ids[row]],
            "score": float(scores[row]),
            "area": int(areas[row]),
        }
        for row in valid.nonzero()[0]
    ]


def without_unsure_things(
    panoptic_seg: np.ndarray, segments: List[Dict[str, Any]], threshold: float
) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
    """Map and segments in which things with a score below ``threshold`` are void."""
    unsure = [s["id"] for s in segments if s["isthing"] and s["score"] < threshold]
    if not unsure:
        return panoptic_seg, segments
    panoptic_seg = np.where(np.isin(panoptic_seg, unsure), np.int32(0), panoptic_seg)
    return panoptic_seg, [s for s in segments if s["id"] not in unsure]


def recounted(segments: List[Dict[str, Any]], panoptic_seg: np.ndarray) -> List[Dict[str, Any]]:
    """Segments with their areas in ``panoptic_seg``, without those that are not in it."""
    last = max((s["id"] for s in segments), default=0)
    counts = np.bincount(panoptic_seg.ravel(), minlength=last + 1)
    return [{**s, "area": int(counts[s["id"]])} for s in segments if counts[s["id"]]]


def _nearest(ids: np.ndarray, size: Size) -> np.ndarray:
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64) for new, old in zip(size, ids.shape)
    )
    return ids[rows[:, None], columns]
