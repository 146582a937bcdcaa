"""Registers with Detectron2 what a config asks for."""

import difflib
import os
from functools import partial
from typing import Any, Callable, Dict, List

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import ConfigError
from ...label_space import PanopticLabelSpace
from .coco_panoptic import CocoPanopticFiles, coco_panoptic_metadata, load_coco_panoptic
from .files import DatasetError, data_root, expand, require_folder
from .street_scenes import (
    NAMES,
    load_street_scenes,
    street_scenes_files,
    street_scenes_metadata,
)

_KEY = "DATASETS.PANOPTIC"
_COMPARED_KEYS = (
    "thing_classes",
    "thing_dataset_id_to_contiguous_id",
    "stuff_dataset_id_to_contiguous_id",
)


def register_datasets(cfg: CfgNode) -> None:
    """Register the generated street scenes and the data set of ``cfg.DATASETS.PANOPTIC``.

    Calling it again with the same config changes nothing. The files of street scenes need not exist
    yet; those of ``DATASETS.PANOPTIC`` are needed for its class list, for every split that
    ``DATASETS.TRAIN`` or ``TEST`` names.

    Raises:
        ValueError: a name is taken by another data set or described differently, or
            ``DATASETS.TRAIN`` or ``TEST`` names an unknown data set.
        DatasetError: a needed split is not there or cannot be used.
    """
    for split, name in NAMES.items():
        files = street_scenes_files(split)
        _register(name, street_scenes_metadata(files), load_street_scenes, files)
    if cfg.DATASETS.PANOPTIC.NAME:
        _register_coco_panoptic(cfg)
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if name not in DatasetCatalog:
                raise ConfigError(
                    f"DATASETS.{key} names '{name}', which is not registered{near_names(name)}"
                )


def near_names(name: str) -> str:
    """The registered names that resemble ``name``, as the end of a message."""
    near = difflib.get_close_matches(name, list(DatasetCatalog), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else "; check the name"


def _register_coco_panoptic(cfg: CfgNode) -> None:
    node = cfg.DATASETS.PANOPTIC
    root = _root(node)
    needed = set(cfg.DATASETS.TRAIN) | set(cfg.DATASETS.TEST)
    found: Dict[str, Dict[str, Any]] = {}
    missing: List[str] = []
    for split in node.SPLITS:
        name, files = f"{node.NAME}_{split}", _coco_panoptic_files(node, root, split)
        if name not in needed and not os.path.isfile(files.panoptic_json):
            missing.append(files.panoptic_json)
            continue
        found[name] = coco_panoptic_metadata(files)
        _check_same_classes(found)
        _register(name, found[name], load_coco_panoptic, files)
    if not found:
        raise DatasetError(f"{_KEY}: none of {missing} exists; {_remedy()}")


def _root(node: CfgNode) -> str:
    root = expand(node.ROOT) if node.ROOT else os.path.join(data_root(), node.NAME)
    require_folder(root, f"the root of data set {node.NAME}", _remedy())
    return root


def _remedy() -> str:
    return f"set {_KEY}.ROOT to its folder or DETECTRON2_DATASETS to the folder above"


def _coco_panoptic_files(node: CfgNode, root: str, split: str) -> CocoPanopticFiles:
    def path(key: str) -> str:
        try:
            return os.path.join(root, node[key].format(split=split))
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"{_KEY}.{key} is '{node[key]}'; the only placeholder in it may be {{split}}"
            ) from error

    return CocoPanopticFiles(
        images=path("IMAGES"),
        panoptic_png=path("PANOPTIC_PNG"),
        panoptic_json=path("PANOPTIC_JSON"),
        remedy=f"check {_KEY}.ROOT ('{root}') and the paths below it in {_KEY}",
    )


def _check_same_classes(splits: Dict[str, Dict[str, Any]]) -> None:
    (first, expected), (last, actual) = list(splits.items())[0], list(splits.items())[-1]
    if any(expected[key] != actual[key] for key in _COMPARED_KEYS):
        raise DatasetError(
            f"{expected['panoptic_json']} and {actual['panoptic_json']} list different categories "
            f"or a different order, so {first} and {last} cannot go together"
        )


def _register(
    name: str,
    metadata: Dict[str, Any],
    load: Callable[[Any, PanopticLabelSpace], List[Dict[str, Any]]],
    files: Any,
) -> None:
    """Put a data set into Detectron2's catalogs, whose entries are write-once."""
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name).as_dict()
        different = [key for key, value in metadata.items() if known.get(key) != value]
        if different:
            key = different[0]
            raise ConfigError(
                f"data set '{name}' is registered already with another {key}: "
                f"{known.get(key)} instead of {metadata[key]}; choose another {_KEY}.NAME, or "
                "change the data root before the first registration"
            )
        return
    label_space = PanopticLabelSpace(
        metadata["thing_dataset_id_to_contiguous_id"],
        metadata["stuff_dataset_id_to_contiguous_id"],
        metadata["ignore_label"],
    )
    MetadataCatalog.get(name).set(**metadata)
    DatasetCatalog.register(name, partial(load, files, label_space))
