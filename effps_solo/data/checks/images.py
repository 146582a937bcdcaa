"""One image of a data set: its files are read and compared with each other and with the JSON.

:func:`check_job` runs in worker processes; the functions below it are pure. H x W pixels, S
segments.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from effps_solo.data.geometry import stride4_majority
from effps_solo.structures.panoptic_png import read_segment_ids, wrong_png_mode
from effps_solo.structures.segment_measures import SegmentMeasures, measure_segments
from effps_solo.utils.image_io import ImageError, open_image, read_image

from .entries import Category, Segment
from .findings import Finding
from .instance_masks import InstanceMask, mask_findings
from .orientation import orientation_finding

THUMBNAIL_SIZE = 8  # blocks along either side
# Boxes made from polygons differ from those of the pixels by less than this on any side.
BOX_TOLERANCE = 1.0
Size = Tuple[int, int]  # height, width


class ImageJob(NamedTuple):
    """What is to be compared; None where there is no such file or entry.

    Attributes:
        image_name, png_name: of the entries, for messages.
        image_file, png_file: paths of files that exist.
        size: height and width in the JSON.
        segments: of the annotation.
        masks: COCO instance masks of the image, if there are any.
        annotation_index: position of the annotation in the JSON.
    """

    image_name: str
    png_name: str
    image_file: Optional[str]
    png_file: Optional[str]
    size: Optional[Size]
    segments: Optional[List[Segment]]
    masks: List[InstanceMask] = []
    annotation_index: Optional[int] = None


@dataclass
class ImageResult:
    """What reading an image's files gave; None where that was impossible.

    Attributes:
        findings: about the files of this image.
        image_size, png_size: height, width; of the image upright after its EXIF orientation.
        digest: of the image's pixels.
        thumbnail: (8, 8, 3) uint8, means of blocks of the image.
        measures: of the PNG, if its ids can be trusted.
    """

    findings: List[Finding] = field(default_factory=list)
    image_size: Optional[Size] = None
    png_size: Optional[Size] = None
    digest: Optional[bytes] = None
    thumbnail: Optional[np.ndarray] = None
    measures: Optional[SegmentMeasures] = None


def check_job(work: Tuple[ImageJob, Mapping[int, Category]]) -> ImageResult:
    """:func:`check_image` of one argument."""
    return check_image(*work)


def check_image(job: ImageJob, classes: Mapping[int, Category]) -> ImageResult:
    """Read the files of an image and compare them; never raises for what is wrong with them."""
    result = ImageResult()
    rgb = _read_image(job, result) if job.image_file is not None else None
    ids = _read_ids(job, result) if job.png_file is not None else None
    turned = None
    if rgb is not None and ids is not None:
        turned = orientation_finding(job.image_name, str(job.image_file), rgb, ids)
    sizes = {"image": result.image_size, "PNG": result.png_size, "JSON": job.size}
    result.findings += [turned] if turned is not None else size_findings(job.image_name, sizes)
    if ids is not None:
        measures = result.measures = measure_segments(ids)
        if job.segments is not None:
            result.findings += id_findings(job.png_name, job.segments, measures)
            # Areas of a PNG of another size are wrong by that alone.
            if result.png_size == (result.image_size or job.size or result.png_size):
                result.findings += measure_findings(job.png_name, job.segments, measures)
            things = {s.id for s in job.segments if _is_object(s, classes)}
            drawn = things & set(measures.ids.tolist())
            result.findings += tiny_findings(job.png_name, ids, drawn)
    if job.masks:
        result.findings += mask_findings(job.image_name, job.masks, result.image_size or job.size)
    return result


def _read_image(job: ImageJob, result: ImageResult) -> Optional[np.ndarray]:
    try:
        rgb = read_image(str(job.image_file), "RGB")
    except ImageError as error:
        result.findings.append(Finding("unreadable-image", job.image_name, str(error)))
        return None
    image = Image.fromarray(rgb)
    result.image_size = (image.height, image.width)
    digest = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    digest.update(image.tobytes())
    result.digest = digest.digest()
    blocks = image.resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX)
    result.thumbnail = np.asarray(blocks)
    return rgb


def _read_ids(job: ImageJob, result: ImageResult) -> Optional[np.ndarray]:
    file_name = str(job.png_file)
    try:
        if wrong_mode := wrong_png_mode(file_name):
            result.findings.append(Finding("wrong-png-mode", job.png_name, f"is {wrong_mode}"))
            with open_image(file_name) as image:
                image.load()  # it may be cut off as well
            result.png_size = (image.height, image.width)
            return None
        ids = read_segment_ids(file_name)
    except ImageError as error:
        result.findings.append(Finding("unreadable-png", job.png_name, str(error)))
        return None
    result.png_size = (ids.shape[0], ids.shape[1])
    return ids


def size_findings(subject: str, sizes: Dict[str, Optional[Size]]) -> List[Finding]:
    """One finding when the known sizes differ."""
    known = {what: size for what, size in sizes.items() if size is not None}
    if len(set(known.values())) < 2:
        return []
    parts = [f"{what} {width}x{height}" for what, (height, width) in known.items()]
    return [Finding("size-mismatch", subject, f"differs in size: {', '.join(parts)}")]


def _is_object(segment: Segment, classes: Mapping[int, Category]) -> bool:
    category = classes.get(segment.category_id) if segment.category_id is not None else None
    return category is not None and category.is_thing and not segment.is_crowd


def id_findings(subject: str, segments: List[Segment], measures: SegmentMeasures) -> List[Finding]:
    """Ids that only the PNG or only the JSON has."""
    findings: List[Finding] = []
    listed, drawn = {s.id: s for s in segments}, measured_by_id(measures)
    for segment_id, (area, _) in drawn.items():
        if segment_id not in listed:
            text = f"holds the id {segment_id} ({area} px), which the JSON does not list"
            findings.append(Finding("id-not-in-json", subject, text))
    for segment in (listed[segment_id] for segment_id in listed if segment_id not in drawn):
        if segment.area == 0:
            text = f"segment {segment.id} has no pixel, as the JSON says"
            findings.append(Finding("empty-segment", subject, text))
        else:
            text = f"has no pixel of segment {segment.id} (area {segment.area} in the JSON)"
            findings.append(Finding("segment-not-in-png", subject, text))
    if not drawn and not segments:
        findings.append(Finding("nothing-labelled", subject, "is void everywhere"))
    return findings


def measure_findings(
    subject: str, segments: List[Segment], measures: SegmentMeasures
) -> List[Finding]:
    """Areas and boxes in the JSON that the pixels contradict."""
    findings: List[Finding] = []
    measured = measured_by_id(measures)
    for segment in (segment for segment in segments if segment.id in measured):
        area, box = measured[segment.id]
        if segment.area is not None and segment.area != area:
            text = f"segment {segment.id} has area {segment.area}, its pixels are {area}"
            findings.append(Finding("wrong-area", subject, text))
        if segment.bbox is not None and not same_box(segment.bbox, box):
            text = f"segment {segment.id} has bbox {list(segment.bbox)}, its pixels have {box}"
            findings.append(Finding("wrong-bbox", subject, text))
    return findings


def measured_by_id(measures: Optional[SegmentMeasures]) -> Dict[int, Tuple[int, List[int]]]:
    """Segment id -> area and box (x, y, width, height); empty for a PNG that was not measured."""
    if measures is None:
        return {}
    measured = zip(measures.areas.tolist(), measures.boxes.tolist())
    return dict(zip(measures.ids.tolist(), measured))


def same_box(box: Any, measured: Any) -> bool:
    """Whether all four sides of two boxes (x, y, width, height) agree within BOX_TOLERANCE."""
    x, y, width, height = box
    x0, y0, w0, h0 = measured
    sides = (x - x0, y - y0, x + width - x0 - w0, y + height - y0 - h0)
    return all(abs(side) <= BOX_TOLERANCE for side in sides)


def tiny_findings(subject: str, ids: np.ndarray, things: "set[int]") -> List[Finding]:
    """One finding when some of the ``things`` have no pixel in masks of stride 4."""
    visible = np.unique(stride4_majority(ids)).tolist() if things else ()
    if lost := things.difference(visible):
        text = f"{len(lost)} of {len(things)} things vanish at stride 4"
        return [Finding("tiny-object", subject, text)]
    return []
