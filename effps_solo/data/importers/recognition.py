"""What annotations look like: the name of their format, and how to come from it to one that can be imported.

A few files decide. Formats that cannot be read here are known by name, so that the message says which export
to take.
"""

import os
import re
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Tuple

from .files import SourceError, read_json, walk

_VOC_FOLDERS = ("SegmentationClass", "*/SegmentationClass", "*/*/SegmentationClass")
_MAX_FILES = 300  # of a folder, that are looked at
_HEAD = 65536  # bytes of a text
_NUMBER = re.compile(r"^-?\d+(\.\d+)?([eE][-+]?\d+)?$")


class Guess(NamedTuple):
    """What a file looks like.

    Attributes:
        what: the format, for people.
        advice: what to do.
        format: its name in FORMATS, or "".
    """

    what: str
    advice: str
    format: str = ""


def _readable(what: str, name: str) -> Guess:
    return Guess(what, f"choose --from {name}", name)


_COCO = 'export "COCO" instead and import that with --from coco-instances'
_BOXES = "boxes cannot teach segmentation: annotate polygons or masks"

COCO = _readable("COCO instances", "coco-instances")
PANOPTIC = Guess(
    "a COCO panoptic JSON", "it needs no import: a description of a line names it (docs/data.md)"
)
LABELME = _readable("labelme JSON", "labelme")
CITYSCAPES = _readable("polygons of Cityscapes", "cityscapes-polygons")
VISTAS = Guess(
    "polygons of Mapillary Vistas", "take its panoptic PNGs with datasets/prepare_vistas.py"
)
ADE20K = Guess(
    "the full ADE20K",
    "take its scene parsing download (ADEChallengeData2016) with datasets/prepare_ade20k.py",
)
VIA = Guess("annotations of VIA", f'{_COCO} (in VIA "Export Annotations (COCO format)")')
LABEL_STUDIO = Guess("an export of Label Studio", _COCO)
SUPERVISELY = Guess("a project of Supervisely", f'{_COCO} (the app "Export to COCO")')
DATUMARO = Guess(
    "a Datumaro project", "convert it: datum convert -if datumaro -f coco_instances -i DIR -o OUT"
)
CVAT_XML = Guess("CVAT XML", 'choose --from cvat, or export "COCO" instead', "cvat")
CVAT_VIDEO = Guess("CVAT XML of videos", 'export "CVAT for images 1.1" instead')
LABELME_XML = Guess("XML of the old LabelMe", _COCO)
VOC_BOXES = Guess("boxes in Pascal VOC's XML", _BOXES)
YOLO = Guess("YOLO polygons", 'choose --from yolo-seg, or export "COCO" instead', "yolo-seg")
YOLO_BOXES = Guess("YOLO boxes", _BOXES)
MASKS = _readable("masks of classes and objects", "mask-pairs")


def recognize(path: str) -> Optional[Tuple[str, Guess]]:
    """The file that tells the format, and the format; None: nothing is known."""
    if os.path.isfile(path):
        guess = _of_file(Path(path))
        return None if guess is None else (path, guess)
    files = [file for _, file in zip(range(_MAX_FILES), walk(path))]
    for pattern in _VOC_FOLDERS:  # beside them VOC has boxes in XML
        folder = next(Path(path).glob(pattern), None)
        if folder is not None:
            return str(folder), MASKS
    for suffixes in _SUFFIXES:
        for file in (f for f in files if f.suffix.lower() in suffixes):
            guess = _of_file(file)
            if guess is not None:
                return str(file), guess
    return None


def _of_file(path: Path) -> Optional[Guess]:
    if path.suffix.lower() in (".json", ".ndjson"):
        try:
            return of_json(read_json(str(path)))
        except SourceError:
            return None
    if path.suffix.lower() == ".png":
        is_ade = re.search(r"^ADE_.*_(seg|parts_\d+)$", path.stem)
        is_mask = any(part.lower().startswith("semantic") for part in path.parts)
        return ADE20K if is_ade else MASKS if is_mask else None
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return {".xml": of_xml, ".txt": of_txt}.get(path.suffix.lower(), of_yaml)(head)


def of_json(content: Any) -> Optional[Guess]:
    """What the content of a JSON file is."""
    for guess, test in _JSON_TESTS:
        try:
            if test(content):
                return guess
        except (KeyError, TypeError, AttributeError, IndexError, StopIteration):
            continue
    return None


def _first(values: Any) -> Any:
    return next(iter(values.values() if isinstance(values, dict) else values))


_JSON_TESTS: List[Tuple[Guess, Callable[[Any], bool]]] = [
    (PANOPTIC, lambda c: "segments_info" in c["annotations"][0]),
    (COCO, lambda c: {"images", "annotations"} <= set(c) and isinstance(c["images"], list)),
    (LABELME, lambda c: isinstance(c["shapes"], list)),
    (CITYSCAPES, lambda c: "imgHeight" in c and isinstance(c["objects"], list)),
    (SUPERVISELY, lambda c: "size" in c and isinstance(c["objects"], list)),
    (SUPERVISELY, lambda c: isinstance(c["classes"], list) and "tags" in c),
    (VISTAS, lambda c: "height" in c and isinstance(c["objects"], list)),
    (ADE20K, lambda c: "object" in c["annotation"]),
    (DATUMARO, lambda c: isinstance(c["items"], list) and "categories" in c),
    (VIA, lambda c: "_via_img_metadata" in c or "_via_settings" in c),
    (VIA, lambda c: {"filename", "regions"} <= set(_first(c))),
    (LABEL_STUDIO, lambda c: isinstance(c, list) and "data" in c[0]),
]


def of_xml(head: str) -> Optional[Guess]:
    """What an XML file is that begins so."""
    if re.search(r"<annotations>", head) and re.search(r"<(image|track|meta)[\s>]", head):
        return CVAT_VIDEO if re.search(r"<track\s", head) else CVAT_XML
    if re.search(r"<annotation[\s>]", head):
        return LABELME_XML if "<polygon>" in head or "<pt>" in head else VOC_BOXES
    return None


def of_txt(head: str) -> Optional[Guess]:
    """What a text file is whose lines begin with the number of a class."""
    lines = [line.split() for line in head.splitlines()[:-1] or [head] if line.strip()]
    if not lines or not all(_NUMBER.match(word) for line in lines for word in line):
        return None
    if not all(line[0].isdigit() for line in lines):
        return None
    lengths = {len(line) for line in lines}
    if max(lengths) >= 7 and all(length % 2 for length in lengths):
        return YOLO
    return YOLO_BOXES if lengths == {5} else None


def of_yaml(head: str) -> Optional[Guess]:
    """What a YAML file is that begins so."""
    is_yolo = re.search(r"^names\s*:", head, re.M) and re.search(r"^(train|val|nc)\s*:", head, re.M)
    return YOLO if is_yolo else None


# Of a folder, what says most comes first.
_SUFFIXES = ((".json", ".ndjson"), (".xml",), (".yaml", ".yml"), (".txt",), (".png",))
