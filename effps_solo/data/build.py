"""The loaders of a config."""

import logging
from typing import Any, Callable, Dict, Iterable, List

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm

from effps_solo.utils.errors import ConfigError

from .annotations_mapper import AnnotationsDatasetMapper
from .copy_paste import CopyPaste
from .datasets.registration import check_dataset_available
from .loader import SampledRecords, SampleStream, ShownLoader, TrainLoader, outlive_stop_signals
from .mapper import PanopticDatasetMapper

logger = logging.getLogger(__name__)

Record = Dict[str, Any]


def build_train_loader(cfg: CfgNode) -> TrainLoader:
    """The loader of ``DATASETS.TRAIN`` for this process.

    Its seed is ``SEED``, or, where that is negative, a random one that all processes share.

    Raises:
        ConfigError: an unknown sampler, a batch that the processes cannot share evenly, or no image
            with an object where images without one are left out.
    """
    for name in cfg.DATASETS.TRAIN:
        check_dataset_available(name)
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    # A semantic head learns from images without objects, too.
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and not cfg.MODEL.SEM_SEG_HEAD.NAME:
        records = _with_things(records)
    stream = SampleStream(
        sampler_factory(cfg, records),
        batch_size_per_process(cfg),
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        groups=_orientations(records) if cfg.DATALOADER.ASPECT_RATIO_GROUPING else None,
    )
    dataset = SampledRecords(
        records, build_train_mapper(cfg, records), cfg.DATALOADER.MAX_UNUSABLE_IMAGES
    )
    return TrainLoader(dataset, stream, num_workers=cfg.DATALOADER.NUM_WORKERS)


def evenly_spread(records: List[Record], limit: int) -> List[Record]:
    """At most ``limit`` of the records, from the first to the last in equal distances; 0: all of them."""
    if not 0 < limit < len(records):
        return records
    chosen = np.linspace(0, len(records) - 1, limit).round().astype(int)
    return [records[i] for i in chosen]


def evaluation_records(cfg: CfgNode, dataset_name: str) -> List[Record]:
    """What an evaluation takes of a data set: all, or ``TEST.MAX_IMAGES`` spread evenly."""
    records = get_detection_dataset_dicts([dataset_name], filter_empty=False)
    return evenly_spread(records, cfg.TEST.MAX_IMAGES)


def build_test_loader(
    cfg: CfgNode, dataset_name: str, mapper: Callable[[Record], Record]
) -> ShownLoader:
    """The :func:`evaluation_records` of this process, one by one, under a progress bar.

    Raises DatasetError where the data set is not there.
    """
    check_dataset_available(dataset_name)
    records = evaluation_records(cfg, dataset_name)
    loader = build_detection_test_loader(
        records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
    )
    loader.worker_init_fn = outlive_stop_signals
    return ShownLoader(loader, dataset_name)


def batch_size_per_process(cfg: CfgNode) -> int:
    """What a process takes of ``SOLVER.IMS_PER_BATCH``.

    Raises ConfigError unless that is a positive multiple of processes times ``SOLVER.ACCUMULATION_STEPS``.
    """
    total, num_parts = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION_STEPS
    num_processes = comm.get_world_size()
    if num_parts < 1 or total < 1 or total % (num_processes * num_parts):
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {total}; it must be a multiple of {num_processes} (processes) "
            f"times {num_parts} (SOLVER.ACCUMULATION_STEPS), and all of them positive"
        )
    return int(total) // num_processes


def build_train_mapper(cfg: CfgNode, records: List[Record]) -> Callable[[Record], Record]:
    """The mapper for panoptic PNGs, or for ``annotations`` where the data set has none."""
    if "pan_seg_file_name" in records[0]:
        paste = CopyPaste(cfg, records) if cfg.INPUT.COPY_PASTE_OBJECTS > 0 else None
        return PanopticDatasetMapper(cfg, is_train=True, paste=paste)
    return AnnotationsDatasetMapper.from_config(cfg, is_train=True)


def sampler_factory(cfg: CfgNode, records: List[Record]) -> Callable[[int], Iterable[int]]:
    """``DATALOADER.SAMPLER_TRAIN``, one of Detectron2's, as a function of its seed.

    Raises ConfigError for an unknown name.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name == "TrainingSampler":
        return lambda seed: TrainingSampler(len(records), seed=seed)
    if name == "RandomSubsetTrainingSampler":
        ratio = cfg.DATALOADER.RANDOM_SUBSET_RATIO
        return lambda seed: RandomSubsetTrainingSampler(
            len(records), ratio, seed_shuffle=seed, seed_subset=seed
        )
    if name == "RepeatFactorTrainingSampler":
        # Detectron2 reads the classes of ``annotations``, which panoptic dicts lack.
        classes = [{"annotations": r.get("segments_info", r.get("annotations"))} for r in records]
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            classes, cfg.DATALOADER.REPEAT_THRESHOLD, cfg.DATALOADER.REPEAT_SQRT
        )
        return lambda seed: RepeatFactorTrainingSampler(factors, seed=seed)
    raise ConfigError(
        f"DATALOADER.SAMPLER_TRAIN is '{name}'; choose one of TrainingSampler, "
        "RandomSubsetTrainingSampler, RepeatFactorTrainingSampler"
    )


def _with_things(records: List[Record]) -> List[Record]:
    """Those with an object that is no crowd; Detectron2 looks for it in ``annotations`` alone.

    Raises ConfigError where there is none.
    """
    kept = [
        record
        for record in records
        if any(
            segment.get("isthing", True) and not segment.get("iscrowd", 0)
            for segment in record.get("segments_info") or record.get("annotations") or ()
        )
    ]
    if not kept:
        raise ConfigError(
            f"none of the {len(records)} images of DATASETS.TRAIN holds an object, and "
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS leaves images without one out; turn it off"
        )
    logger.info(
        "%d of %d images hold no object and are left out", len(records) - len(kept), len(records)
    )
    return kept


def _orientations(records: List[Record]) -> List[int]:
    """0 for a landscape, 1 for every other record. Raises ConfigError where sizes are unknown."""
    if any("width" not in record or "height" not in record for record in records):
        raise ConfigError(
            "DATALOADER.ASPECT_RATIO_GROUPING is on, but the data set has records without width and "
            "height; turn it off"
        )
    return [0 if record["width"] > record["height"] else 1 for record in records]
