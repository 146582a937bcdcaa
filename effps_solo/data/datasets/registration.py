"""Registers with Detectron2 what a config asks for, and checks that the files of it exist."""

import difflib
import hashlib
import os
from functools import partial
from typing import Any, Callable, Dict, List, Sequence, Set

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.structures.classes import PanopticClass, metadata_of_classes
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .coco_panoptic import coco_panoptic_metadata, load_coco_panoptic, panoptic_metadata
from .description import Description, descriptions
from .families import FAMILIES
from .files import DatasetError, require_paths
from .street_scenes import STREET_SCENES, load_street_scenes, street_scenes_metadata

_REMEDY = (
    "set DETECTRON2_DATASETS or DATASETS.PANOPTIC.ROOT to where the data lie, or mend the paths in "
    "the description"
)
_COMPARED_KEYS = (
    "thing_classes",
    "thing_dataset_id_to_contiguous_id",
    "stuff_dataset_id_to_contiguous_id",
)


def register_datasets(cfg: CfgNode) -> None:
    """Register the published data sets, generated street scenes, and what the config describes.

    Calling it again with the same config changes nothing. The files of the first two need not exist
    yet; those of a description are needed for its class list, for every split that
    ``DATASETS.TRAIN`` or ``TEST`` names.

    Raises:
        ValueError: a name is taken by another data set or described differently, or
            ``DATASETS.TRAIN`` or ``TEST`` names an unknown data set or one with other classes.
        DatasetError: a description or a needed split is not there or cannot be used.
    """
    for split in STREET_SCENES.splits:
        metadata = street_scenes_metadata(split)
        _register(STREET_SCENES.dataset_name(split), metadata, load_street_scenes, metadata)
    for family in FAMILIES.values():
        if family.classes is None:  # Detectron2 registers it
            continue
        for split in family.splits:
            files = family.files(split)
            metadata = panoptic_metadata(family.classes().categories, files)
            _register(family.dataset_name(split), metadata, load_coco_panoptic, files)
    needed = set(cfg.DATASETS.TRAIN) | set(cfg.DATASETS.TEST)
    for description in descriptions(cfg):
        _register_description(description, needed)
    for key in ("TRAIN", "TEST"):
        for name in cfg.DATASETS[key]:
            if name not in DatasetCatalog:
                raise ConfigError(
                    f"DATASETS.{key} names '{name}', which is not registered{_near_names(name)}"
                )
    _check_one_label_space([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])


def register_classes(classes: Sequence[PanopticClass]) -> str:
    """Give classes without a data set a name in Detectron2's metadata, always the same one."""
    digest = hashlib.sha256(repr(tuple(classes)).encode()).hexdigest()
    name = f"classes_{digest[:16]}"
    MetadataCatalog.get(name).set(**metadata_of_classes(classes))
    return name


def check_dataset_available(name: str) -> None:
    """Check that the folders and files of a registered panoptic data set exist; reads none.

    Detectron2's loaders end in an assertion where they do not.

    Raises:
        DatasetError: the name is not registered, or something is missing; says what to do.
    """
    if name not in DatasetCatalog:
        raise DatasetError(f"data set '{name}' is not registered{_near_names(name)}")
    metadata = MetadataCatalog.get(name).as_dict()
    families = (*FAMILIES.values(), STREET_SCENES)
    remedy = next((f.remedy for f in families if name in map(f.dataset_name, f.splits)), _REMEDY)
    require_paths(metadata, f"data set '{name}': ", remedy)
    if name.startswith("cityscapes_fine_panoptic") and "." in metadata["image_root"]:
        raise DatasetError(
            f"data set '{name}': Detectron2's Cityscapes loader cannot read paths with a dot, such as "
            f"'{metadata['image_root']}'; move or link the data"
        )


def _near_names(name: str) -> str:
    """The registered names that resemble ``name``, as the end of a message."""
    near = difflib.get_close_matches(name, list(DatasetCatalog), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else "; check the name"


def _check_one_label_space(names: Sequence[str]) -> None:
    """Raises ConfigError when data sets that one model sees differ in their classes."""
    classes = {name: _classes(name) for name in names}
    for name, actual in classes.items():
        expected = classes[names[0]]
        for i in sorted({*expected, *actual}) if expected and actual else ():
            if expected.get(i) != actual.get(i):
                raise ConfigError(
                    f"DATASETS.TRAIN and TEST: {name} and {names[0]} differ in their classes; class "
                    f"{i} is {actual.get(i, 'missing')} and {expected.get(i, 'missing')}"
                )


def _classes(name: str) -> Dict[int, str]:
    """Contiguous id -> name and kind; empty for a data set without panoptic metadata."""
    metadata, found = MetadataCatalog.get(name), {}
    for kind in ("thing", "stuff"):
        names = metadata.get(f"{kind}_classes", ())
        for i in metadata.get(f"{kind}_dataset_id_to_contiguous_id", {}).values():
            found[i] = f"{names[i] if i < len(names) else '?'} ({kind})"
    return found


def _register_description(description: Description, needed: Set[str]) -> None:
    """Register the splits that are there; those in ``needed`` must be."""
    found: Dict[str, Dict[str, Any]] = {}
    missing: List[str] = []
    for name, files in description.splits.items():
        if name not in needed and not os.path.isfile(files.panoptic_json):
            missing.append(files.panoptic_json)
            continue
        actual = found[name] = coco_panoptic_metadata(files)
        first, expected = next(iter(found.items()))
        if any(expected[key] != actual[key] for key in _COMPARED_KEYS):
            raise DatasetError(
                f"{expected['panoptic_json']} and {actual['panoptic_json']} list different categories "
                f"or a different order, so {first} and {name} cannot go together"
            )
        _register(name, actual, load_coco_panoptic, files)
    if not found:
        raise DatasetError(
            f"data set {description.name}: none of {missing} exists; {description.remedy}"
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
        for key, value in metadata.items():
            if known.get(key) != value:
                raise ConfigError(
                    f"data set '{name}' is registered already with another {key}: {known.get(key)} "
                    f"instead of {value}; choose another name, or change the data root before the "
                    "first registration"
                )
        return
    registered = MetadataCatalog.get(name).set(**metadata)
    label_space = PanopticLabelSpace.from_metadata(registered)
    DatasetCatalog.register(name, partial(load, files, label_space))
