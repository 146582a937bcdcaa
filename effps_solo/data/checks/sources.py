"""Which data sets a config names, found without loading them: loading stops at the first fault."""

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Sequence

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
        (
            _source(name, own[name])
            if name in own
            else source_from_metadata(MetadataCatalog.get(name))
        )
        for name in names
    ]


def other_splits_of_config(cfg: CfgNode) -> List[PanopticSource]:
    """Splits that the config describes but uses neither for training nor for testing."""
    used = {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}
    return [_source(name, files) for name, files in _described(cfg).items() if name not in used]


def _described(cfg: CfgNode) -> Dict[str, CocoPanopticFiles]:
    own: Dict[str, CocoPanopticFiles] = {}
    for description in descriptions(cfg):
        own.update(description.splits)
    return own


def sources_from_descriptions(paths: Sequence[str]) -> List[PanopticSource]:
    """Every split of the data sets that files describe.

    Raises:
        DatasetError: see :func:`read_description`.
    """
    splits = [item for path in paths for item in read_description(path).splits.items()]
    return [_source(name, files) for name, files in splits]


def _source(name: str, files: CocoPanopticFiles) -> PanopticSource:
    return PanopticSource(name, files.images, files.panoptic_png, files.panoptic_json)


def source_from_metadata(metadata: Any) -> PanopticSource:
    """A registered panoptic data set.

    Raises:
        UserError: it has no panoptic JSON.
    """
    missing = [
        key
        for key in ("image_root", "panoptic_root", "panoptic_json")
        if not metadata.get(key, None)
    ]
    if missing:
        raise UserError(
            f"data set '{metadata.name}' has no {', '.join(missing)} in its metadata; only data "
            "sets with a panoptic JSON can be checked"
        )
    return PanopticSource(
        metadata.name,
        metadata.image_root,
        metadata.panoptic_root,
        metadata.panoptic_json,
        classes_from_metadata(metadata),
    )


def classes_from_metadata(metadata: Any) -> Dict[int, Category]:
    """Dataset id -> category."""
    classes: Dict[int, Category] = {}
    for kind, is_thing in (("stuff", False), ("thing", True)):
        ids: Mapping[int, int] = metadata.get(f"{kind}_dataset_id_to_contiguous_id", {})
        names: Sequence[str] = metadata.get(f"{kind}_classes", [])
        for dataset_id, contiguous in ids.items():
            name = names[contiguous] if contiguous < len(names) else f"class {dataset_id}"
            classes[dataset_id] = Category(name, is_thing)
    return classes


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
        ExpectedCount("MODEL.INSTANCE_HEAD.NUM_CLASSES", cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES, True)
    ]
    if cfg.MODEL.SEM_SEG_HEAD.NAME:
        key = "MODEL.SEM_SEG_HEAD.NUM_CLASSES"
        counts.append(ExpectedCount(key, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, False))
    return [count for count in counts if count.number >= 0]  # -1: from the data
