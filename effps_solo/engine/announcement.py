"""What a training is about to do, in a few lines before its first step."""

import datetime
import logging
import time
from collections import Counter
from typing import Any, Dict, Iterable, List, Optional, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from effps_solo.data.loader import UNUSABLE, TrainLoader
from effps_solo.data.seeding import seeded
from effps_solo.structures.classes import PanopticClass, classes_from_metadata

from .distributed import unwrap
from .loop import TrainingLoop

NUM_CLASSES = 12  # that a line names
# A first pass is slow; where it matters and costs little, there is a second one.
_SURE_SECONDS, _MANY_STEPS = 5, 100
logger = logging.getLogger(__name__)


def announce(trainer: Any) -> None:
    """Tell of data, weights and time of an :class:`effps_solo.engine.Trainer`; all processes call it."""
    cfg: CfgNode = trainer.cfg
    num_steps = trainer.max_iter - trainer.start_iter
    seconds = seconds_per_step(trainer._trainer, num_steps) if num_steps > 0 else None
    if not comm.is_main_process():
        return
    records = trainer.data_loader.dataset.records
    classes = classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
    lines = [f"train: {' + '.join(cfg.DATASETS.TRAIN)}, {_of_data(records, classes)}"]
    for name in cfg.DATASETS.TEST:
        lines.append(f"test: {name}, {_of_data(DatasetCatalog.get(name), classes)}")
    lines.append(f"evaluation: {_of_evaluation(cfg)}")
    num_processes = comm.get_world_size()
    device = cfg.MODEL.DEVICE + (f" in {num_processes} processes" if num_processes > 1 else "")
    parameters = sum(p.numel() for p in unwrap(trainer.model).parameters())
    lines += [
        f"model: {cfg.MODEL.META_ARCHITECTURE}, {parameters / 1e6:.1f} million parameters, on {device}",
        f"weights: {_of_weights(trainer)}",
        f"steps: {num_steps} of {cfg.SOLVER.IMS_PER_BATCH} images, "
        f"{num_steps * cfg.SOLVER.IMS_PER_BATCH / max(len(records), 1):.1f} times the training set; "
        f"{cfg.SOLVER.OPTIMIZER}, learning rate {cfg.SOLVER.BASE_LR:g}",
        f"output: {cfg.OUTPUT_DIR}; all else is told in log.txt there",
        f"expected time: {_of_time(seconds, num_steps)}",
    ]
    for line in lines:
        logger.info("%s", line)


def _of_data(records: Iterable[Dict[str, Any]], classes: Sequence[PanopticClass]) -> str:
    """Images, objects and classes of a data set in words."""
    sizes: Counter = Counter()
    objects: Counter = Counter({c.name: 0 for c in classes if c.isthing})
    stuff: Counter = Counter({c.name: 0 for c in classes if not c.isthing})
    for record in records:
        sizes[record.get("height"), record.get("width")] += 1
        for segment in record.get("segments_info", ()):
            kind = classes[segment["category_id"]]
            if not kind.isthing:
                stuff[kind.name] += 1
            elif not segment.get("iscrowd"):
                objects[kind.name] += 1
    (height, width), count = sizes.most_common(1)[0] if sizes else ((0, 0), 0)
    size = f"{width}x{height}" if count == sum(sizes.values()) else "of several sizes"
    parts = [f"{sum(sizes.values())} images {size}"]
    if objects:
        parts.append(f"{sum(objects.values())} objects ({_counts(objects)})")
    if stuff:
        parts.append(f"images with stuff: {_counts(stuff)}")
    return "; ".join(parts)


def _counts(found: Counter) -> str:
    """The classes, most frequent first, and how many more there are."""
    named = [f"{name} {count}" for name, count in found.most_common(NUM_CLASSES)]
    more = len(found) - len(named)
    return ", ".join(named) + (f" and {more} more classes" if more else "")


def _of_evaluation(cfg: CfgNode) -> str:
    if not cfg.DATASETS.TEST:
        return "none, DATASETS.TEST is empty"
    period = cfg.TEST.EVAL_PERIOD
    when = f"every {period} iterations and at the end" if period > 0 else "at the end"
    if cfg.SOLVER.EARLY_STOPPING_PATIENCE > 0:
        when += f", which {cfg.SOLVER.EARLY_STOPPING_PATIENCE} without a better {cfg.TEST.BEST_METRIC} bring"
    limit = cfg.TEST.MAX_IMAGES
    return f"{when}, on " + (
        f"{limit} images (TEST.MAX_IMAGES) of each set" if limit else "all images"
    )


def _of_weights(trainer: Any) -> str:
    if trainer.start_iter > 0:
        file = trainer.checkpointer.get_checkpoint_file()
        return (
            f"those of {file}; goes on after iteration {trainer.start_iter} of {trainer.max_iter}"
        )
    return trainer.cfg.MODEL.WEIGHTS or "random ones (MODEL.WEIGHTS is empty)"


def _of_time(seconds: Optional[float], num_steps: int) -> str:
    if seconds is None:
        return "unknown" if num_steps > 0 else "that of an evaluation, all steps are done"
    total = datetime.timedelta(seconds=round(seconds * num_steps))
    return (
        f"about {total} ({seconds:.3g} s a step), evaluations not counted. Ctrl-C and SIGTERM stop it "
        "with a checkpoint"
    )


def seconds_per_step(loop: TrainingLoop, num_steps: int) -> Optional[float]:
    """The time of a training step, by trying its forward and backward pass on the first batch.

    Weights, statistics, random numbers and the order of the data stay as they are.

    Args:
        loop: before its first step.
        num_steps: that are to come.

    Returns:
        None where the batch cannot be loaded.
    """
    model, loader = unwrap(loop.model), loop.data_loader
    start = time.perf_counter()
    batch = _first_micro_batch(loader, loop.num_micro_batches)
    data_time = time.perf_counter() - start
    # All or none: there may be norms that wait for the other processes.
    if not all(comm.all_gather(bool(batch))):
        return None
    buffers = [buffer.clone() for buffer in model.buffers()]
    compute_time = 0.0
    with seeded(0), EventStorage():
        for _ in range(2):
            start = time.perf_counter()
            with loop.precision.autocast():
                losses = model(batch)
            sum(losses.values()).backward()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            compute_time = time.perf_counter() - start
            slow = comm.all_gather(compute_time)[0] > _SURE_SECONDS
            if slow or num_steps < _MANY_STEPS:
                break
    model.zero_grad()
    for buffer, before in zip(model.buffers(), buffers):
        buffer.copy_(before)
    workers = loader.num_workers
    seconds = max(compute_time, data_time / workers) if workers else compute_time + data_time
    return seconds * loop.num_micro_batches


def _first_micro_batch(loader: TrainLoader, num_micro_batches: int) -> List[Dict[str, Any]]:
    """Empty where a record cannot be read; the loader stays where it is."""
    samples = next(iter(loader.stream))
    batch = [loader.dataset[s] for s in samples[: len(samples) // num_micro_batches]]
    return [] if any(UNUSABLE in x for x in batch) else batch
