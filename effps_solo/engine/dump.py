"""A training step on disk, model and batches, which ``effps-solo replay`` repeats on any machine.

The file holds tensors and plain values only, so that it loads safely.
"""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import torch
from detectron2.structures import Boxes, Instances

from effps_solo.checkpoint.checkpointer import plain_data
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.instance_head import StepTotals
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import CheckpointError

_INSTANCES, _BOXES, _MASKS = "Instances", "Boxes", "ObjectMasks"
_FORMAT = "effps_solo step"


@dataclass
class ForwardPass:
    """One pass through the network in training."""

    batch: List[Dict[str, Any]]  # N dicts as the model takes them
    totals: Optional[StepTotals]  # of the step; None: those of the batch itself
    losses: Dict[str, float]  # by name, as they were computed


@dataclass
class StepDump:
    """The inputs and the model of a training step on one process."""

    iteration: int
    seed_key: Tuple[int, ...]  # of the random numbers of all its passes; empty: unknown
    model: Dict[str, torch.Tensor]  # state dict before the step
    passes: List[ForwardPass]  # in their order


def save_dump(dump: StepDump, path: str) -> None:
    """Write a dump; raises OSError when the disk is full or the folder cannot be written."""
    passes = [
        {
            "batch": [{key: _flat(value) for key, value in x.items()} for x in each.batch],
            "totals": each.totals and (each.totals.counts.cpu(), each.totals.num_parts),
            "losses": each.losses,
        }
        for each in dump.passes
    ]
    content = {"format": _FORMAT, **vars(dump), "passes": plain_data(passes, "passes")}
    content["model"] = dict(dump.model)
    write_atomically(path, lambda file: torch.save(content, file), durable=True)


def load_dump(path: str) -> StepDump:
    """Read a dump onto the CPU; raises CheckpointError where it is missing, damaged, or something else."""
    content = safe_load_checkpoint(path)
    if content.get("format") != _FORMAT:
        raise CheckpointError(f"'{path}' is no dump of a training step")
    passes = [
        ForwardPass(
            batch=[{key: _unflat(value) for key, value in x.items()} for x in each["batch"]],
            totals=StepTotals(*each["totals"]) if each["totals"] else None,
            losses=each["losses"],
        )
        for each in content["passes"]
    ]
    return StepDump(content["iteration"], content["seed_key"], content["model"], passes)


def _flat(value: Any) -> Any:
    """Instances, Boxes and ObjectMasks as tuples that begin with their name; on the CPU."""
    if isinstance(value, Instances):
        fields = {name: _flat(content) for name, content in value.get_fields().items()}
        return (_INSTANCES, tuple(int(length) for length in value.image_size), fields)
    if isinstance(value, Boxes):
        return (_BOXES, value.tensor.cpu())
    if isinstance(value, ObjectMasks):
        return (_MASKS, value.objects.cpu(), value.ids.cpu())
    return value.cpu() if isinstance(value, torch.Tensor) else value


def _unflat(value: Any) -> Any:
    kind, *parts = value if isinstance(value, tuple) and value else (None,)
    if kind == _INSTANCES:
        return Instances(parts[0], **{name: _unflat(field) for name, field in parts[1].items()})
    if kind == _BOXES:
        return Boxes(*parts)
    return ObjectMasks(*parts) if kind == _MASKS else value
