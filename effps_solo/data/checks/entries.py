"""The lists of a panoptic JSON, read leniently: what can be used, and findings for the rest.

Pure functions of the parsed JSON; no file is touched.
"""

from collections import Counter, defaultdict
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from effps_solo.data.datasets.files import examples, repeated
from effps_solo.structures.classes import is_color

from .findings import Finding

MAX_CATEGORIES = 255  # as contiguous ids; 255 itself is void
MAX_SEGMENT_ID = 256**3 - 1


class Category(NamedTuple):
    """A class."""

    name: str
    is_thing: bool


class ImageEntry(NamedTuple):
    """An entry of "images"; the size is None where it cannot be used."""

    id: Any
    file_name: str
    size: Optional[Tuple[int, int]]  # height, width


class Segment(NamedTuple):
    """An entry of "segments_info"; None where a value cannot be used."""

    id: int
    category_id: Optional[int]
    is_crowd: bool
    area: Optional[float]
    bbox: Optional[Tuple[float, ...]]  # x, y, width, height


class AnnotationEntry(NamedTuple):
    """An entry of "annotations"; None where a value cannot be used."""

    position: Optional[int]  # in the list
    image_id: Any
    file_name: Optional[str]
    segments: Optional[List[Segment]]


def read_categories(categories: List[Any]) -> Tuple[Dict[int, Category], List[Finding]]:
    """Category id -> category in the order of the JSON, the first of several with one id."""
    found: Dict[int, Category] = {}
    findings: List[Finding] = []
    names: Counter = Counter()
    for category in categories:
        if wrong := _wrong_keys(category, _CATEGORY_CHECKS):
            findings.append(Finding("malformed-entry", f"category {category}", wrong))
            continue
        if category["id"] in found:
            text = f"has the id of category '{found[category['id']].name}'"
            findings.append(Finding("duplicate-category", f"category {category}", text))
            continue
        names[category["name"]] += 1
        if names[category["name"]] == 2:
            text = "is the name of several categories"
            findings.append(Finding("duplicate-category", f"'{category['name']}'", text))
        if not is_color(category.get("color")):
            text = f"has the color {_short(category['color'])}"
            findings.append(Finding("invalid-color", f"category '{category['name']}'", text))
        found[category["id"]] = Category(category["name"], bool(category["isthing"]))
    if len(found) > MAX_CATEGORIES:
        text = f"are more than {MAX_CATEGORIES}"
        findings.append(Finding("too-many-categories", f"{len(found)} categories", text))
    return found, findings


def read_images(images: List[Any]) -> Tuple[Dict[Any, ImageEntry], List[Finding]]:
    """Image id -> entry, the first of several with one id."""
    found: Dict[Any, ImageEntry] = {}
    findings: List[Finding] = []
    for image in images:
        if wrong := _wrong_keys(image, {"id": _is_id, "file_name": _is_text}):
            findings.append(Finding("malformed-entry", f"image {_short(image)}", wrong))
            continue
        name = image["file_name"]
        if image["id"] in found:
            text = f"has the id {image['id']} of {found[image['id']].file_name}"
            findings.append(Finding("duplicate-image-id", name, text))
            continue
        if wrong := _wrong_keys(image, {"height": _is_length, "width": _is_length}):
            findings.append(Finding("malformed-entry", f"image {name}", wrong))
        size = None if wrong else (image["height"], image["width"])
        found[image["id"]] = ImageEntry(image["id"], name, size)
    return found, findings + _listed_twice(entry.file_name for entry in found.values())


def read_annotations(
    annotations: List[Any], classes: Mapping[int, Category]
) -> Tuple[List[AnnotationEntry], List[Finding]]:
    """The annotations that name an image, several for one image included.

    Findings include those about their segments that need no PNG.
    """
    found: List[AnnotationEntry] = []
    findings: List[Finding] = []
    file_of_image: Dict[Any, Optional[str]] = {}
    for index, annotation in enumerate(annotations):
        if wrong := _wrong_keys(annotation, {"image_id": _is_id}):
            findings.append(Finding("malformed-entry", f"annotation {_short(annotation)}", wrong))
            continue
        image_id, name = annotation["image_id"], annotation.get("file_name")
        name = name if _is_text(name) else None
        subject = name or f"annotation of image {image_id}"
        if wrong := _wrong_keys(annotation, {"file_name": _is_text, "segments_info": _is_list}):
            findings.append(Finding("malformed-entry", subject, wrong))
        if image_id in file_of_image:
            text = f"is another annotation of image {image_id}"
            findings.append(Finding("duplicate-annotation", subject, text))
        file_of_image.setdefault(image_id, name)
        segments = None
        if _is_list(annotation.get("segments_info")):
            segments, more = read_segments(annotation["segments_info"], subject)
            findings += more + segment_findings(segments, classes, subject)
        found.append(AnnotationEntry(index, image_id, name, segments))
    names = (name for name in file_of_image.values() if name is not None)
    return found, findings + _listed_twice(names)


def read_segments(segments: List[Any], subject: str) -> Tuple[List[Segment], List[Finding]]:
    """The segments that have a valid id."""
    found: List[Segment] = []
    findings: List[Finding] = []
    for segment in segments:
        if wrong := _wrong_keys(segment, _SEGMENT_CHECKS, optional={"bbox"}):
            text = f"segment {_short(segment)} {wrong}"
            findings.append(Finding("malformed-entry", subject, text))
        if not isinstance(segment, dict) or not _is_int(segment.get("id")):
            continue
        if not 0 < segment["id"] <= MAX_SEGMENT_ID:
            text = f"has a segment with the id {segment['id']}"
            findings.append(Finding("invalid-segment-id", subject, text))
            continue
        usable = {
            k: segment[k] for k, is_usable in _SEGMENT_CHECKS.items() if is_usable(segment.get(k))
        }
        category_id, is_crowd = usable.get("category_id"), bool(usable.get("iscrowd"))
        box = tuple(usable["bbox"]) if "bbox" in usable else None
        found.append(Segment(segment["id"], category_id, is_crowd, usable.get("area"), box))
    return found, findings


def segment_findings(
    segments: List[Segment], classes: Mapping[int, Category], subject: str
) -> List[Finding]:
    """Findings about an image's segments that need no PNG."""
    findings: List[Finding] = []
    stuff_ids: Dict[int, Set[int]] = defaultdict(set)
    for segment_id in repeated(segment.id for segment in segments):
        text = f"has several segments with the id {segment_id}"
        findings.append(Finding("duplicate-segment-id", subject, text))
    for segment in segments:
        if segment.category_id is None:
            continue
        category = classes.get(segment.category_id)
        if category is None:
            text = f"segment {segment.id} has category_id {segment.category_id}"
            findings.append(Finding("unknown-category", subject, text))
        elif not category.is_thing:
            stuff_ids[segment.category_id].add(segment.id)
            if segment.is_crowd:
                text = f"segment {segment.id} ({category.name}) is stuff and a crowd"
                findings.append(Finding("crowd-on-stuff", subject, text))
    for category_id, ids in stuff_ids.items():
        if len(ids) > 1:
            text = f"has {len(ids)} segments of {classes[category_id].name}: {examples(ids)}"
            findings.append(Finding("split-stuff", subject, text))
    return findings


def category_difference(
    expected: Mapping[int, Category], actual: Mapping[int, Category]
) -> Optional[str]:
    """How two lists of categories differ; None when they are the same in the same order."""
    for category_id in {**expected, **actual}:
        wanted, found = expected.get(category_id), actual.get(category_id)
        if wanted != found:
            return f"category {category_id} is {_name(found)}, there {_name(wanted)}"
    return None if list(expected) == list(actual) else "the categories come in another order"


def _name(category: Optional[Category]) -> str:
    kind = "thing" if category and category.is_thing else "stuff"
    return f"'{category.name}' ({kind})" if category else "missing"


def _listed_twice(names: Iterable[str]) -> List[Finding]:
    return [
        Finding("file-listed-twice", name, "is the file of several entries")
        for name in repeated(names)
    ]


def _wrong_keys(
    entry: Any, checks: Mapping[str, Callable[[Any], bool]], optional: Iterable[str] = ()
) -> str:
    """What is wrong with the keys of an entry, "" if nothing is."""
    if not isinstance(entry, dict):
        return "is no object"
    missing = [key for key in checks if key not in entry and key not in optional]
    bad = [key for key in checks if key in entry and not checks[key](entry[key])]
    parts = [f"has no {', '.join(missing)}"] if missing else []
    parts += [f"has {key} {_short(entry[key])}" for key in bad]
    return " and ".join(parts)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_length(value: Any) -> bool:
    return _is_int(value) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_id(value: Any) -> bool:
    return _is_int(value) or _is_text(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, int) and value in (0, 1)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


_CATEGORY_CHECKS = {"id": _is_int, "name": _is_text, "isthing": _is_flag}
_SEGMENT_CHECKS: Dict[str, Callable[[Any], bool]] = {
    "id": _is_int,
    "category_id": _is_int,
    "iscrowd": _is_flag,
    "area": _is_number,
    "bbox": lambda box: _is_list(box) and len(box) == 4 and all(map(_is_number, box)),
}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
