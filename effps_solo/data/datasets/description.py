"""Descriptions of data sets in COCO panoptic layout: a YAML or JSON file, or the keys of a config.

A file has the fields of ``DATASETS.PANOPTIC`` in lower case. Only ``name`` is needed; the others are
by default

    name: my_set                            # registers my_set_train and my_set_val
    root: .                                 # seen from the folder of the file
    splits: [train, val]                    # or {train: {images: photos}, val: {images: more}}
    images: "{split}"                       # seen from the root, as the next two
    panoptic_png: "panoptic_{split}"
    panoptic_json: "panoptic_{split}.json"
"""

import os
from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Mapping, Sequence

import yaml
from detectron2.config import CfgNode

from effps_solo.utils.errors import hint_at

from .coco_panoptic import CocoPanopticFiles
from .files import DatasetError, data_root, expand, require_file, require_folder

PATHS = {
    "images": "{split}",
    "panoptic_png": "panoptic_{split}",
    "panoptic_json": "panoptic_{split}.json",
}
SPLITS = ["train", "val"]
_FIELDS = ("name", "root", "splits", *PATHS)
_INLINE_KEY = "DATASETS.PANOPTIC"


@dataclass(frozen=True)
class Description:
    """Where a data set lies.

    Attributes:
        name: of the data set.
        splits: registered name, ``name``_<split>, -> files.
        remedy: where its paths can be mended.
    """

    name: str
    splits: Dict[str, CocoPanopticFiles]
    remedy: str


@dataclass(frozen=True)
class _Source:
    """A file or a key that describes a data set, for messages."""

    name: str
    is_file: bool

    def field(self, name: str) -> str:
        return f"'{name}' in {self.name}" if self.is_file else f"{self.name}.{name.upper()}"


def descriptions(cfg: CfgNode) -> List[Description]:
    """The data sets of ``DATASETS.DESCRIPTIONS`` and ``DATASETS.PANOPTIC``.

    Raises DatasetError as :func:`read_description`.
    """
    found = [read_description(path) for path in cfg.DATASETS.DESCRIPTIONS]
    node = cfg.DATASETS.PANOPTIC
    if node.NAME:
        fields = {field: node[field.upper()] for field in _FIELDS}
        fields["splits"] = list(node.SPLITS)
        root = expand(node.ROOT) if node.ROOT else os.path.join(data_root(), node.NAME)
        remedy = f"set {_INLINE_KEY}.ROOT to its folder or DETECTRON2_DATASETS to the folder above"
        found.append(_description(fields, root, remedy, _Source(_INLINE_KEY, is_file=False)))
    return found


def read_description(path: str) -> Description:
    """The description in a YAML or JSON file; variables and ~ in ``path`` are expanded.

    Raises DatasetError when the file or the root is not there, or a field is unknown or unusable.
    """
    path = expand(path)
    remedy = "check DATASETS.DESCRIPTIONS, which is relative to the config file"
    require_file(path, "description", remedy)
    source = _Source(path, is_file=True)
    fields = {"root": "", "splits": SPLITS, **PATHS, **_read_mapping(path)}
    _check_fields(fields, source)
    root = os.path.normpath(os.path.join(os.path.dirname(path), expand(fields["root"])))
    return _description(fields, root, f"check the paths in {path}", source)


def _description(fields: Dict[str, Any], root: str, remedy: str, source: _Source) -> Description:
    """The description of checked fields; ``splits`` is a list or a dict of fields."""
    name, splits = fields["name"], fields["splits"]
    require_folder(root, f"the root of data set {name}", remedy)
    files = {}
    for split, changes in (splits if isinstance(splits, dict) else dict.fromkeys(splits)).items():
        own = {**fields, **(changes or {})}
        images, png, json = (_path(field, own[field], root, split, source) for field in PATHS)
        remedy_of_split = f"{remedy} (its root is '{root}')"
        files[f"{name}_{split}"] = CocoPanopticFiles(images, png, json, remedy_of_split)
    return Description(name, _with_neighbours(files), remedy)


def _with_neighbours(splits: Dict[str, CocoPanopticFiles]) -> Dict[str, CocoPanopticFiles]:
    """The splits, knowing which others have the same folder of PNGs, as those of a cross-validation."""
    return {
        name: replace(
            files,
            sharing=tuple(
                other.panoptic_json
                for other in splits.values()
                if other is not files and other.panoptic_png == files.panoptic_png
            ),
        )
        for name, files in splits.items()
    }


def _path(field: str, template: str, root: str, split: str, source: _Source) -> str:
    try:
        text = template.format(split=split)
    except (KeyError, IndexError, ValueError) as error:
        raise DatasetError(
            f"{source.field(field)} is '{template}'; the only placeholder in it may be {{split}}"
        ) from error
    return os.path.join(root, expand(text))


def _read_mapping(path: str) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DatasetError(f"{path} cannot be read as YAML or JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds no fields such as 'name: my_set'")
    return content


def _check_fields(fields: Mapping[str, Any], source: _Source) -> None:
    _check_known(fields, _FIELDS, source)
    if "name" not in fields:
        raise DatasetError(f"{source.name} has no name; add a line such as 'name: my_set'")
    splits, where = fields["splits"], source.field("splits")
    if not isinstance(splits, (list, dict)) or not splits:
        raise DatasetError(f"{where} is {splits!r}; make it a list such as [train, val]")
    texts = [(field, value) for field, value in fields.items() if field != "splits"]
    texts += [("splits", split) for split in splits]
    for changes in splits.values() if isinstance(splits, dict) else ():
        if not isinstance(changes, (dict, type(None))):
            raise DatasetError(f"{where} gives a split {changes!r}; give it fields or nothing")
        _check_known(changes or {}, tuple(PATHS), source)
        texts += (changes or {}).items()
    for field, value in texts:
        if not isinstance(value, str) or (field == "name" and not value):
            raise DatasetError(
                f"{source.field(field)} holds {value!r}, which is no text; put it in quotes"
            )


def _check_known(fields: Iterable[str], known: Sequence[str], source: _Source) -> None:
    for field in fields:
        if field not in known:
            hint = hint_at(field, known)
            raise DatasetError(f"{source.name} has an unknown field '{field}'; {hint}")
