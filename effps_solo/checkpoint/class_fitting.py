"""Weights for one list of classes become weights for another: channels are matched by name.

C classes of the model, Q of the checkpoint; a layer has a channel, or a fixed number of them, for each.
"""

from typing import Dict, Mapping, Tuple

import torch

from effps_solo.modeling.class_channels import HEADS, Classes, class_channels
from effps_solo.structures.classes import class_keys, list_of_classes
from effps_solo.utils.errors import CheckpointError

State = Mapping[str, torch.Tensor]


def same_classes(first: Classes, second: Classes) -> bool:
    """Whether names, kinds and order agree; colours and ids in files do not matter to a network."""
    return class_keys(first) == class_keys(second)


def is_reordered(before: Classes, now: Classes) -> bool:
    """Whether both hold the same classes, each once, in whatever order."""
    return sorted(class_keys(before)) == sorted(class_keys(now))


def fit_to_classes(
    state: State, own: State, classes: Tuple[Classes, Classes], things_share_a_channel: bool
) -> Dict[str, torch.Tensor]:
    """The layers that tell classes apart, for those of the model.

    Args:
        state: of the checkpoint.
        own: of the model; its values stay in the channels of classes that the checkpoint does not know.
        classes: Q of the checkpoint and C of the model, by contiguous id.
        things_share_a_channel: see :func:`class_channels`.

    Returns:
        the tensors of ``own`` that are for ``classes``, with the channels that the checkpoint has.

    Raises:
        CheckpointError: a head has no layer that is known to tell classes apart.
    """
    fitted, known = {}, set()
    for name, value in own.items():
        before, now = (class_channels(name, each, things_share_a_channel) for each in classes)
        if before is None or now is None:
            continue
        known.add(name)
        if name not in state:
            continue
        # Of one channel for all classes, or of another network.
        if (len(before), len(now)) != (len(state[name]), len(value)):
            continue
        if state[name].shape[1:] != value.shape[1:]:
            continue
        place = {channel: i for i, channel in enumerate(before)}
        fitted[name] = value.clone()
        for i, channel in enumerate(now):
            if channel in place:
                fitted[name][i] = torch.as_tensor(state[name][place[channel]])
    for head in HEADS:
        if any(name.startswith(head) for name in own) and not any(
            name.startswith(head) for name in known
        ):
            raise CheckpointError(
                f"no layer of the model's {head.rstrip('.')} is known to tell classes apart, so that it "
                f"cannot be fitted to others: {different_classes(*classes)}"
            )
    return fitted


def different_classes(before: Classes, now: Classes) -> str:
    """Both lists, for messages."""
    return f"the checkpoint has {_counted(before)}, the data {_counted(now)}"


def _counted(classes: Classes) -> str:
    return f"{len(classes)} classes ({list_of_classes(classes)})"


def what_was_taken_over(before: Classes, now: Classes) -> str:
    """What :func:`fit_to_classes` did, in one line."""
    old, new = class_keys(before), class_keys(now)
    common = [name for name, isthing in new if (name, isthing) in old]
    added = [name for name, isthing in new if (name, isthing) not in old]
    dropped = [name for name, isthing in old if (name, isthing) not in new]
    return (
        f"{len(common)} of {len(now)} classes taken over by name ({_listed(common)}); initialised anew: "
        f"{_listed(added)}; left out: {_listed(dropped)}"
    )


def _listed(names: "list[str]") -> str:
    return ", ".join(names) or "none"
