"""Images that occur twice: in one split, or in several, where they make results look too good."""

import os
from collections import defaultdict
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from effps_solo.data.datasets.files import examples

from .findings import Finding

# Two thumbnails that differ by at most this many grey levels anywhere, and by at most their own
# contrast, show one image. Saving it anew as JPEG or in another size changes them by 4 at most.
MAX_LEVELS = 4.0
MAX_CONTRAST_SHARE = 1.0


class Picture(NamedTuple):
    """An image file of a split."""

    name: str
    file: str
    digest: bytes
    thumbnail: np.ndarray


class Split(NamedTuple):
    """The images of a data set that could be read."""

    dataset: str
    pictures: List[Picture]


def duplicate_findings(splits: Sequence[Split]) -> List[List[Finding]]:
    """Findings for every split; a pair is reported once, with the later image."""
    findings = _same_pixels(splits)
    for later in range(len(splits)):
        for earlier in range(later):
            findings[later] += _similar(splits[earlier], splits[later])
            findings[later] += _same_names(splits[earlier], splits[later])
    return findings


def _same_pixels(splits: Sequence[Split]) -> List[List[Finding]]:
    findings: List[List[Finding]] = [[] for _ in splits]
    # Digest -> index of a split -> the first picture there.
    first_of: Dict[bytes, Dict[int, Picture]] = defaultdict(dict)
    for index, split in enumerate(splits):
        for picture in split.pictures:
            seen = first_of[picture.digest]
            if seen and index not in seen:
                there, other = next(iter(seen.items()))
                text = f"has the same pixels as {other.name} in {splits[there].dataset}"
                findings[index].append(Finding("image-in-several-splits", picture.name, text))
            own = seen.setdefault(index, picture)
            if own.file != picture.file:
                text = f"has the same pixels as {own.name}"
                findings[index].append(Finding("duplicate-image", picture.name, text))
    return findings


def _same_names(earlier: Split, later: Split) -> List[Finding]:
    digests = {picture.name: picture.digest for picture in earlier.pictures}
    same = {p.name for p in later.pictures if digests.get(p.name, p.digest) != p.digest}
    text = f"has {len(same)} file names for other images: {examples(same)}"
    return [Finding("same-file-name", earlier.dataset, text)] if same else []


def _similar(earlier: Split, later: Split) -> List[Finding]:
    """Images of ``later`` that resemble one of ``earlier`` and are not equal to it."""
    if not earlier.pictures or not later.pictures:
        return []
    thumbnails = _stack(earlier.pictures)
    means = thumbnails.mean(axis=1)
    order = np.argsort(means, kind="stable")
    thumbnails, means = thumbnails[order], means[order]
    digests = {picture.digest for picture in earlier.pictures}
    findings = []
    for picture, thumbnail in zip(later.pictures, _stack(later.pictures)):
        if picture.digest in digests:
            continue
        # Only images of about this brightness can be within the limit.
        mean = thumbnail.mean()
        low, high = np.searchsorted(means, (mean - MAX_LEVELS, mean + MAX_LEVELS))
        found = nearest_copy(thumbnail, thumbnails[low:high])
        if found is not None:
            other = earlier.pictures[order[low + found]].name
            text = f"looks like {other} in {earlier.dataset}"
            findings.append(Finding("similar-image-in-several-splits", picture.name, text))
    return findings


def nearest_copy(thumbnail: np.ndarray, others: np.ndarray) -> Optional[int]:
    """Index of the thumbnail that shows the same image; None where there is none.

    Args:
        thumbnail: (D,) float32.
        others: (M, D) float32.
    """
    if len(others) == 0:
        return None
    differences = np.abs(others - thumbnail).max(axis=1)
    nearest = int(differences.argmin())
    limit = min(MAX_LEVELS, MAX_CONTRAST_SHARE * float(thumbnail.std()))
    return nearest if differences[nearest] <= limit else None


def _stack(pictures: List[Picture]) -> np.ndarray:
    """(M, D) float32."""
    return np.stack([picture.thumbnail.reshape(-1) for picture in pictures]).astype(np.float32)


def distinct_files(pictures: List[Picture]) -> List[Picture]:
    """The pictures, each file once."""
    seen: Dict[str, Picture] = {}
    for picture in pictures:
        seen.setdefault(os.path.realpath(picture.file), picture)
    return list(seen.values())
