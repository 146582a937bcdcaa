"""What can be wrong with a data set: the kinds of findings, their levels, what to do about them."""

from dataclasses import dataclass
from typing import Dict, NamedTuple

ERROR, WARNING, HINT = "error", "warning", "hint"
LEVELS = (ERROR, WARNING, HINT)
"""An error stops training or evaluation, or makes their figures wrong; with a warning both work,
probably not as intended; a hint is for information."""


class Kind(NamedTuple):
    """A kind of finding.

    Attributes:
        level: one of LEVELS.
        remedy: what to do about it, one line.
    """

    level: str
    remedy: str


KINDS: Dict[str, Kind] = {
    "unreadable-json": Kind(ERROR, "restore the file, or correct its path"),
    "missing-folder": Kind(ERROR, "correct the path, or set DETECTRON2_DATASETS"),
    "malformed-entry": Kind(ERROR, "complete the entry; --fix adds a missing iscrowd"),
    "duplicate-category": Kind(ERROR, "give every category an id and a name of its own"),
    "invalid-color": Kind(ERROR, "give three whole numbers 0 .. 255, red, green and blue, or none"),
    "too-many-categories": Kind(ERROR, "keep at most 255 categories: 255 means void"),
    "inconsistent-categories": Kind(ERROR, "give all splits the same categories in the same order"),
    "class-count-mismatch": Kind(ERROR, "set the key to the number that the data have"),
    "unknown-category": Kind(ERROR, "add the category to the list, or correct the category_id"),
    "duplicate-image-id": Kind(
        ERROR, "give every image an id of its own; --fix drops equal copies"
    ),
    "duplicate-annotation": Kind(ERROR, "keep one annotation an image; --fix drops equal copies"),
    "duplicate-segment-id": Kind(ERROR, "number the segments anew; --fix drops equal copies"),
    "invalid-segment-id": Kind(ERROR, "number segments from 1 to 16777215: 0 is void"),
    "file-listed-twice": Kind(ERROR, "give every entry a file of its own"),
    "annotation-without-image": Kind(
        ERROR, "list the image under 'images', or drop the annotation"
    ),
    "image-without-annotation": Kind(ERROR, "annotate the image, or drop its entry"),
    "missing-image": Kind(ERROR, "restore the file, or drop its entry"),
    "missing-png": Kind(ERROR, "restore the file, or drop the annotation"),
    "empty-split": Kind(ERROR, "list images, or leave the split out of DATASETS.TRAIN and TEST"),
    "unlisted-png": Kind(ERROR, "add annotations for the files, or move them away"),
    "unlisted-image": Kind(HINT, "they are not used; add them to the JSON if they should be"),
    "unreadable-image": Kind(ERROR, "copy or export the image again"),
    "unreadable-png": Kind(ERROR, "copy or export the PNG again"),
    "wrong-png-mode": Kind(ERROR, "save ids as 8-bit RGB PNG: id = R + 256 G + 65536 B"),
    "size-mismatch": Kind(ERROR, "give image, PNG and JSON one size; --fix mends the JSON's"),
    "stored-pixels": Kind(
        ERROR,
        "remove the EXIF orientation from the images (exiftool -Orientation=), or turn the PNGs",
    ),
    "turned-pixels": Kind(
        WARNING,
        "look at them (show-dataset); if they lie wrong, remove the EXIF orientation from the images "
        "(exiftool -Orientation=), or turn the PNGs",
    ),
    "id-not-in-json": Kind(ERROR, "list the segment in segments_info, or make its pixels void (0)"),
    "segment-not-in-png": Kind(ERROR, "remove the segment from the JSON, or draw the PNG anew"),
    "empty-segment": Kind(ERROR, "remove the segment; --fix does it for panoptic segments"),
    "wrong-area": Kind(ERROR, "count anew with --fix: PQ is computed with the area in the JSON"),
    "wrong-bbox": Kind(WARNING, "measure anew with --fix; nothing here trains on these boxes"),
    "split-stuff": Kind(WARNING, "give all pixels of a stuff class in an image one id"),
    "crowd-on-stuff": Kind(WARNING, "set iscrowd to 0: only things have crowds"),
    "overlapping-segments": Kind(WARNING, "remove the double, or separate the two masks"),
    "image-in-several-splits": Kind(ERROR, "keep it in one split: it makes results look too good"),
    "duplicate-image": Kind(WARNING, "keep one of the copies, or merge their annotations"),
    "similar-image-in-several-splits": Kind(HINT, "look at both; a copy belongs in one split"),
    "same-file-name": Kind(HINT, "make sure that they are different images"),
    "group-in-several-splits": Kind(
        HINT,
        "divide anew with import-dataset --group-by if they belong together: it makes results look too good",
    ),
    "only-crowds": Kind(
        WARNING,
        "no object of it can be learned; brush strokes of CVAT: import-dataset --crowds-as-objects",
    ),
    "no-objects": Kind(WARNING, "no object can be learned or evaluated with this split"),
    "class-never-occurs": Kind(HINT, "it cannot be learned, and has no PQ, from this split"),
    "tiny-object": Kind(HINT, "masks have a stride of 4 pixels: enlarge the images by INPUT keys"),
    "nothing-labelled": Kind(HINT, "label the image, or drop it: it teaches nothing"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: a key of KINDS.
        subject: the file, entry, class or config key that it is about.
        text: what was found there.
    """

    kind: str
    subject: str
    text: str

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return KINDS[self.kind].level
