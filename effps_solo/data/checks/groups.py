"""Images that belong together - parts of a photograph, frames of a video - in several splits."""

import re
from pathlib import PurePosixPath
from typing import Dict, List, Optional, Pattern, Sequence, Tuple

from effps_solo.data.datasets.files import examples
from effps_solo.data.importers.splits import group_key

from .findings import Finding

# What names have in common: all before Roboflow's mark of a copy (photo_jpg.rf.3f2a9c), and before a last
# number, if it holds a number itself (IMG_0819_456, but not frame_0001).
_COPY = re.compile(r"_(?:jpe?g|png|bmp|webp)\.rf\.[0-9a-f]+$")
_PART = re.compile(r"^(.*\d.*)[_-]\d+$")


def group_of(name: str, pattern: Optional[Pattern[str]]) -> Optional[str]:
    """The group of an image by its path; None: it is alone.

    Args:
        pattern: see :func:`~effps_solo.data.importers.splits.group_key`; None: what names usually have
            in common.
    """
    if pattern is not None:
        return group_key(name, pattern)
    stem = PurePosixPath(name).stem
    original = _COPY.sub("", stem)
    part = _PART.search(original)
    if part is not None:
        return part.group(1)
    return None if original == stem else original


def group_findings(
    splits: Sequence[Tuple[str, Sequence[str]]], pattern: Optional[Pattern[str]] = None
) -> List[List[Finding]]:
    """One finding at most for every split: its groups that occur in earlier ones.

    Args:
        splits: name and the paths of the images of each.
    """
    findings: List[List[Finding]] = []
    first_of: Dict[str, Tuple[str, str]] = {}
    for dataset, names in splits:
        pairs: Dict[str, str] = {}
        own: Dict[str, Tuple[str, str]] = {}
        for name in names:
            key = group_of(name, pattern)
            if key is not None and key in first_of:
                pairs.setdefault(key, f"{name} ({first_of[key][1]} in {first_of[key][0]})")
            elif key is not None:
                own.setdefault(key, (dataset, name))
        first_of.update(own)
        text = f"shares {len(pairs)} groups of images with other splits: {examples(pairs.values())}"
        findings.append([Finding("group-in-several-splits", dataset, text)] * bool(pairs))
    return findings
