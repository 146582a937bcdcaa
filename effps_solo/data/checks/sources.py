"""Which data sets a config names, found without loading them: loading stops at the first fault."""

from dataclasses import replace
from typing import Any, Dict, List, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from effps_solo.data.datasets.coco_panoptic import CocoPanopticFiles
from effps_solo.data.datasets.description import descriptions, read_description
from effps_solo.data.datasets.registration import register_datasets
from effps_solo.utils.errors import UserError

from .entries import Category
from .plan import PanopticSource
from .run import ExpectedCount


def sources_from_config(cfg: CfgNode) -> List[PanopticSource]:
    """The data sets of ``DATASETS.TRAIN`` and ``TEST``, each once.

    Raises:
        UserError: an unknown name, a data set without panoptic JSON, or none at all.
    """
    names = list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    if not names:
        raise UserError("DATASETS.TRAIN and DATASETS.TEST are empty; name a data set")
    own = _described(cfg)
    others = cfg.clone()
    others.defrost()
    others.DATASETS.PANOPTIC.NAME = ""
    others.DATASETS.DESCRIPTIONS = ()
    others.DATASETS.TRAIN = tuple(name for name in names if name not in own)
    others.DATASETS.TEST = ()
    register_datasets(others)
    return [
        _source(name, own[name]) if name in own else _registered(MetadataCatalog.get(name))
        for name in names
    ]


def other_splits_of_config(cfg: CfgNode) -> List[PanopticSource]:
    """Splits that the config describes but uses neither for training nor for testing."""
    used = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
    return [_source(name, files) for name, files in _described(cfg).items() if name not in used]


def _described(cfg: CfgNode) -> Dict[str, CocoPanopticFiles]:
    return {name: files for d in descriptions(cfg) for name, files in d.splits.items()}


def sources_from_descriptions(paths: Sequence[str]) -> List[PanopticSource]:
    """Every split of the data sets that files describe; raises what :func:`read_description` does."""
    splits = [item for path in paths for item in read_description(path).splits.items()]
    return [_source(name, files) for name, files in splits]


def _source(name: str, files: CocoPanopticFiles) -> PanopticSource:
    return PanopticSource(name, files.images, files.panoptic_png, files.panoptic_json)


def _registered(metadata: Any) -> PanopticSource:
    """Raises UserError when the data set has no panoptic JSON."""
    keys = ("image_root", "panoptic_root", "panoptic_json")
    images, png, panoptic_json = (metadata.get(key) for key in keys)
    if missing := [key for key in keys if not metadata.get(key)]:
        raise UserError(
            f"data set '{metadata.name}' has no {', '.join(missing)} in its metadata; only data "
            "sets with a panoptic JSON can be checked"
        )
    classes: Dict[int, Category] = {}
    for kind in ("stuff", "thing"):
        names: Sequence[str] = metadata.get(f"{kind}_classes", [])
        for dataset_id, i in metadata.get(f"{kind}_dataset_id_to_contiguous_id", {}).items():
            name = names[i] if i < len(names) else f"class {dataset_id}"
            classes[dataset_id] = Category(name, kind == "thing")
    return PanopticSource(metadata.name, images, png, panoptic_json, classes)


def with_instances(sources: List[PanopticSource], files: Sequence[str]) -> List[PanopticSource]:
    """The sources with their COCO instance annotations, in the same order.

    Raises:
        UserError: another number of files.
    """
    if len(files) not in (0, len(sources)):
        raise UserError(
            f"--instances-json names {len(files)} files for {len(sources)} data sets "
            f"({', '.join(source.name for source in sources)}); name one for each"
        )
    return [replace(s, instances_json=file) for s, file in zip(sources, files)] or sources


def counts_from_config(cfg: CfgNode) -> List[ExpectedCount]:
    """The class counts that the config states; none for those that it takes from the data."""
    counts = [
        ExpectedCount(f"MODEL.{name}.NUM_CLASSES", cfg.MODEL[name].NUM_CLASSES, things_only)
        for name, things_only in (("INSTANCE_HEAD", True), ("SEM_SEG_HEAD", False))
        if cfg.MODEL[name].NAME
    ]
    return [count for count in counts if count.number >= 0]  # -1: from the data
