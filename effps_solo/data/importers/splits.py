"""Which split an image belongs to: that of its export, or one drawn by its name."""

import hashlib
import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Pattern, Sequence, Tuple

from .files import SourceError
from .source import Item

# What exports call their splits.
SPLIT_WORDS: Dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TRAIN, VAL = "train", "val"


def split_word(path: str) -> str:
    """The split that a path names by a folder, or else by a word of the file's name; "": none."""
    *folders, name = Path(path).parts or ("",)
    words = re.findall("[a-z]+", Path(name).stem.lower())
    found = [SPLIT_WORDS[word] for word in [f.lower() for f in folders] if word in SPLIT_WORDS]
    found += [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    return found[0] if found else ""


def by_folder(items: Mapping[str, Item]) -> Dict[str, List[Item]]:
    """The splits of annotation files whose folders name them, all or none; "": none.

    Args:
        items: by the path of the annotation file below the folder of the export.
    """
    words = {path: split_word(str(Path(path).parent / "_")) for path in items}
    splits: Dict[str, List[Item]] = defaultdict(list)
    for path, item in items.items():
        splits[words[path] if all(words.values()) else ""].append(item)
    return dict(splits)


def group_key(name: str, pattern: Pattern[str]) -> Optional[str]:
    """The group of an image: the first group of the pattern, or all that it matches; None: no match."""
    match = pattern.search(name)
    return None if match is None else next(iter(match.groups()), None) or match.group()


def grouped(
    items: Sequence[Item], name_of: Callable[[Item], str], pattern: Optional[Pattern[str]]
) -> Dict[str, List[Item]]:
    """Items by group; without a group, each alone by its name.

    Args:
        name_of: the path of an image below the folder of all.

    Raises:
        SourceError: the pattern matches no name.
    """
    groups: Dict[str, List[Item]] = defaultdict(list)
    matched = False
    for item in items:
        key = group_key(name_of(item), pattern) if pattern else None
        matched |= key is not None
        groups[f"group {key}" if key is not None else f"image {name_of(item)}"].append(item)
    if pattern and items and not matched:
        raise SourceError(
            f"--group-by '{pattern.pattern}' matches no image, e.g. not '{name_of(items[0])}'"
        )
    return dict(groups)


def drawn_split(
    groups: Mapping[str, List[Item]], val_fraction: float
) -> Tuple[List[Item], List[Item]]:
    """(training, validation) items, as near to the fraction as whole groups allow.

    Groups come in the order of a digest of their names, so that most images stay where they are when others
    are added.

    Args:
        val_fraction: in (0, 1).

    Raises:
        SourceError: there is one group alone.
    """
    if len(groups) < 2:
        raise SourceError(
            f"--val-fraction needs two images or groups of images; there are {len(groups)}"
        )
    wanted = val_fraction * sum(map(len, groups.values()))
    chosen: List[str] = []
    count = 0
    for key in sorted(groups, key=_digest):
        if count + len(groups[key]) / 2 <= wanted and len(chosen) < len(groups) - 1:
            chosen.append(key)
            count += len(groups[key])
    if not chosen:
        chosen = [min(groups, key=lambda key: (len(groups[key]), _digest(key)))]
    val = {item.image for key in chosen for item in groups[key]}
    items = [item for group in groups.values() for item in group]
    return [i for i in items if i.image not in val], [i for i in items if i.image in val]


def _digest(key: str) -> bytes:
    return hashlib.sha256(Path(key).name.encode("utf-8", "surrogateescape")).digest()


def keep_groups(
    splits: Mapping[str, List[Item]], groups: Mapping[str, List[Item]]
) -> Tuple[Dict[str, List[Item]], int]:
    """The splits with every group in that split which has most of it, and how many images moved.

    Of two with equally much of it the smaller one has it.

    Raises:
        SourceError: nothing is left of a split.
    """
    split_of = {item.image: split for split, items in splits.items() for item in items}
    target = {}
    for group in groups.values():
        counts = Counter(split_of[item.image] for item in group)
        home = min(counts, key=lambda split: (-counts[split], len(splits[split])))
        target.update({item.image: home for item in group})
    moved = sum(target[image] != split for image, split in split_of.items())
    items = [item for part in splits.values() for item in part]
    kept = {split: [i for i in items if target[i.image] == split] for split in splits}
    for split, part in kept.items():
        if not part:
            raise SourceError(
                f"--group-by leaves no image in the split {split}; divide all anew with --split {TRAIN} and "
                "--val-fraction"
            )
    return kept, moved


def choose_splits(
    found: Mapping[str, List[Item]],
    folder: str,
    *,
    split: str = "",
    val_fraction: float = 0.0,
    group_by: Optional[Pattern[str]] = None,
) -> Tuple[Dict[str, List[Item]], List[str]]:
    """The splits of a data set.

    Args:
        found: the splits of the export; "": it has none.
        folder: below which all images lie.
        split: takes all images; "": the splits stay, and images without one are for training.
        val_fraction: of the training images, becomes the split "val"; 0: none.
        group_by: images of one group come into one split; see :func:`group_key`.

    Returns:
        split -> items, at least one each, and remarks.

    Raises:
        SourceError: the options do not fit the export, or there is no image.
    """
    splits: Dict[str, List[Item]] = {}
    for name, part in found.items():
        splits.setdefault(split or name or TRAIN, []).extend(part)
    remarks = [f"split {name} has no image: left out" for name, part in splits.items() if not part]
    splits = {name: part for name, part in splits.items() if part}
    if not splits:
        raise SourceError("there is no annotated image")

    def name_of(item: Item) -> str:
        return Path(os.path.relpath(item.image, folder)).as_posix()

    if val_fraction:
        own = split or TRAIN
        if VAL in splits or own not in splits:
            raise SourceError(
                f"--val-fraction: the export has the splits {', '.join(splits)}; leave it out, or divide "
                f"all images anew with --split {TRAIN}"
            )
        groups = grouped(splits[own], name_of, group_by)
        splits[own], splits[VAL] = drawn_split(groups, val_fraction)
    elif group_by:
        items = [item for part in splits.values() for item in part]
        splits, moved = keep_groups(splits, grouped(items, name_of, group_by))
        remarks += [f"{moved} images moved to the split of their group"] * bool(moved)
    return splits, remarks


def image_root(folder: str, items: Sequence[Item]) -> str:
    """The folder of a split below that of all images, where the export has one; else ``folder``."""
    parts = [Path(os.path.relpath(item.image, folder)).parts for item in items]
    first = parts[0][0]
    own = all(len(p) > 1 and p[0] == first for p in parts) and first.lower() in SPLIT_WORDS
    return os.path.join(folder, first) if own else folder
