"""The keys of a config that name its data set."""

import os
from typing import List

from detectron2.config import CfgNode

from effps_solo.data.datasets.description import read_description

from .choice import Choice

_VALIDATION = ("val", "valid", "validation", "test")


def choices_of_description(path: str, folder: str) -> List[Choice]:
    """Of a description, for a config in ``folder``: a split to train on and, if there is one, one to test on.

    Raises DatasetError as :func:`read_description`.
    """
    description = read_description(path)
    splits = [name.removeprefix(f"{description.name}_") for name in description.splits]
    train = next((split for split in splits if split.startswith("train")), splits[0])
    test = [split for split in _VALIDATION if split in splits and split != train][:1]
    relative = os.path.relpath(path, folder)
    return [
        Choice("DATASETS.DESCRIPTIONS", [relative], "Seen from the folder of this file."),
        Choice("DATASETS.TRAIN", [f"{description.name}_{train}"]),
        Choice("DATASETS.TEST", [f"{description.name}_{split}" for split in test]),
        Choice("OUTPUT_DIR", "output"),
    ]


def choices_of_config(cfg: CfgNode, defaults: CfgNode) -> List[Choice]:
    """The DATASETS keys of another config that differ from the ``defaults``; an OUTPUT_DIR beside its own."""
    own = _differences(cfg.DATASETS, defaults.DATASETS, "DATASETS")
    return [*own, Choice("OUTPUT_DIR", f"{cfg.OUTPUT_DIR.rstrip('/')}_planned")]


def _differences(node: CfgNode, defaults: CfgNode, prefix: str) -> List[Choice]:
    choices: List[Choice] = []
    for key, value in node.items():
        name = f"{prefix}.{key}"
        if isinstance(value, CfgNode):
            choices += _differences(value, defaults[key], name)
        elif value != defaults[key]:
            choices.append(Choice(name, list(value) if isinstance(value, tuple) else value))
    return choices
