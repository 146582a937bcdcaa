"""Copy-paste (Ghiasi et al., CVPR 2021) for data in which some things are rare.

Objects of other training images are put into an image before it is augmented. The classes of things are
drawn alike, so that the rare ones come most often beyond their share; an object keeps its rows, where a
camera would see it, and is moved and mirrored sideways.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.image_io import read_image

from .mapper import DenseSegments, read_dense_segments

MIN_PIXELS = 40  # fewer show nothing

Record = Dict[str, Any]


class CutOut(NamedTuple):
    """An object of an image.

    Attributes:
        segment: of its ``segments_info``.
        top: its first row.
        pixels, mask: (h, w, 3) uint8 and (h, w) bool of its box.
    """

    segment: Any
    top: int
    pixels: np.ndarray
    mask: np.ndarray


class CopyPaste:
    """Puts 0 .. ``max_objects`` objects of ``records`` into an image."""

    @configurable
    def __init__(
        self,
        records: List[Record],
        *,
        label_space: PanopticLabelSpace,
        max_objects: int,
        image_format: str,
    ) -> None:
        """
        Args:
            records: dicts with ``file_name``, ``pan_seg_file_name`` and ``segments_info``.
            image_format: "RGB" or "BGR".
        """
        self._records, self._format, self._max_objects = records, image_format, max_objects
        self._objects = _objects_by_class(records, label_space)

    @classmethod
    def from_config(cls, cfg: CfgNode, records: List[Record]) -> Dict[str, Any]:
        """``INPUT.COPY_PASTE_OBJECTS`` of ``records``."""
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        return {
            "records": records,
            "label_space": PanopticLabelSpace.from_metadata(metadata),
            "max_objects": cfg.INPUT.COPY_PASTE_OBJECTS,
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(
        self, image: np.ndarray, segments: DenseSegments
    ) -> Tuple[np.ndarray, DenseSegments]:
        """
        Args:
            image: (H, W, 3) uint8.
            segments: its annotation; neither is changed.

        Raises:
            ImageError, AnnotationError: the image that an object comes from cannot be read.
        """
        count = np.random.randint(self._max_objects + 1) if self._objects else 0
        if not count:
            return image, segments
        image, ids, info = image.copy(), segments.ids.copy(), list(segments.info)
        for _ in range(count):
            objects = self._objects[np.random.randint(len(self._objects))]
            cut_out = self._cut_out(*objects[np.random.randint(len(objects))])
            if cut_out is not None and _paste(image, ids, len(info), cut_out):
                info.append(cut_out.segment)
        return image, DenseSegments(ids, info)

    def _cut_out(self, number: int, segment_id: int) -> Optional[CutOut]:
        """A segment of a record; None: it is too small."""
        record = self._records[number]
        segments = read_dense_segments(record["pan_seg_file_name"], record["segments_info"])
        index = [s["id"] if s else None for s in segments.info].index(segment_id)
        mask = segments.ids == index
        if mask.sum() < MIN_PIXELS:
            return None
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        pixels = read_image(record["file_name"], self._format)[window]
        return CutOut(segments.info[index], int(rows[0]), pixels, mask[window])


def _paste(image: np.ndarray, ids: np.ndarray, new_id: int, cut_out: CutOut) -> bool:
    """Write an object into an image and its ids, mirrored or not, in any columns; False: it is too large."""
    pixels, mask = cut_out.pixels, cut_out.mask
    height, width = (whole - part for whole, part in zip(ids.shape, mask.shape))
    if min(height, width) < 0:
        return False
    if np.random.uniform() < 0.5:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    top, left = min(cut_out.top, height), np.random.randint(width + 1)
    window = slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1])
    image[window][mask] = pixels[mask]
    ids[window][mask] = new_id
    return True


def _objects_by_class(records: List[Record], label_space: PanopticLabelSpace) -> List[np.ndarray]:
    """(n, 2) int64 of each class of things that has objects: numbers of records, ids of segments."""
    found: Dict[int, List[Tuple[int, int]]] = {}
    for number, record in enumerate(records):
        for segment in record.get("segments_info", ()):  # the mapper tells of a record without
            category = segment["category_id"]
            if label_space.is_thing(category) and not segment.get("iscrowd", 0):
                found.setdefault(category, []).append((number, segment["id"]))
    return [np.array(found[category], dtype=np.int64) for category in sorted(found)]
