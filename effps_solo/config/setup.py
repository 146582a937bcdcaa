"""From a config file and command-line overrides to a ready config."""

import logging
import math
import os
from typing import Any, List, Sequence, Tuple

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from effps_solo.data.datasets.files import expand
from effps_solo.data.datasets.registration import register_classes, register_datasets
from effps_solo.structures.classes import PanopticClass, classes_from_metadata
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError, hint_at
from effps_solo.utils.packaged import located_weights

from .defaults import add_effps_solo_config
from .files import load_config_file, merge_overrides
from .unused_keys import unused_keys

logger = logging.getLogger(__name__)

FROM_DATA = -1  # a NUM_CLASSES that the data set decides


def load_config(
    config_file: str, overrides: Sequence[str] = (), allow_unsafe: bool = False
) -> CfgNode:
    """Detectron2's defaults, this project's keys, ``config_file``, ``overrides``; data sets registered.

    Logs a line for each key that they set and no part of the model reads, see :mod:`.unused_keys`.

    Args:
        config_file: a YAML file; "" for the defaults alone. Paths in it are seen from its folder.
        overrides: KEY VALUE KEY VALUE ..., as on Detectron2's command lines; paths in them are seen
            from the current folder.
        allow_unsafe: let YAML construct arbitrary Python objects.

    Returns:
        the config, not frozen, with class counts in place of -1, and the data set's id of void.

    Raises:
        ConfigError: see :func:`load_config_file`; also for unknown or ill-typed overrides.
    """
    cfg = read_config(config_file, overrides, allow_unsafe)
    with_data_sets(cfg)
    return cfg


def with_data_sets(cfg: CfgNode) -> None:
    """Register the data sets of what :func:`read_config` gave, and fill in what they decide.

    Raises as :func:`load_config`.
    """
    _tell_unused_keys(cfg)
    register_datasets(cfg)
    _fill_from_data(cfg)


def for_classes(cfg: CfgNode, classes: Sequence[PanopticClass]) -> None:
    """Make what :func:`read_config` gave the config of a trained network that tells ``classes`` apart.

    It has no data set but a name for these classes, so that none need be there.
    """
    without_data_sets(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (register_classes(classes),), ()
    _tell_unused_keys(cfg)
    _fill_from_data(cfg)


def without_data_sets(cfg: CfgNode) -> None:
    """Remove from ``cfg`` where data lie, and the numbers of classes; the names of the data sets stay."""
    cfg.DATASETS.DESCRIPTIONS = ()
    cfg.DATASETS.PANOPTIC = get_config().DATASETS.PANOPTIC
    with_open_class_counts(cfg)


def with_open_class_counts(cfg: CfgNode) -> None:
    """Let the data decide again how many classes there are; a config that was saved has numbers."""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = FROM_DATA


def classes_of_data(cfg: CfgNode) -> Tuple[PanopticClass, ...]:
    """The classes of ``DATASETS.TRAIN[0]``, which the network tells apart, by contiguous id."""
    return classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))


def read_config(
    config_file: str, overrides: Sequence[str] = (), allow_unsafe: bool = False
) -> CfgNode:
    """The same without data sets, for what must work where they are damaged; -1 stays."""
    cfg = get_config()
    if config_file:
        load_config_file(cfg, config_file, allow_unsafe=allow_unsafe)
    merge_overrides(cfg, list(overrides))
    # So that saved configs hold.
    found = (os.path.abspath(expand(path)) for path in cfg.DATASETS.DESCRIPTIONS)
    cfg.DATASETS.DESCRIPTIONS = tuple(found)
    cfg.MODEL.WEIGHTS = located_weights(cfg.MODEL.WEIGHTS)
    return cfg


def get_config() -> CfgNode:
    """Every key with its default."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    return cfg


def _tell_unused_keys(cfg: CfgNode) -> None:
    if comm.is_main_process():
        for line in unused_keys(cfg):
            logger.warning(line)


def _fill_from_data(cfg: CfgNode) -> None:
    """Set what ``DATASETS.TRAIN[0]`` decides: each NUM_CLASSES of -1, the id of void, weights of classes."""
    if not cfg.DATASETS.TRAIN:
        return
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    label_space = PanopticLabelSpace.from_metadata(metadata)
    semantic, instance = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.INSTANCE_HEAD
    semantic.IGNORE_VALUE = label_space.ignore_label
    if semantic.NUM_CLASSES == FROM_DATA:
        semantic.NUM_CLASSES = label_space.num_classes
    if instance.NUM_CLASSES == FROM_DATA:
        instance.NUM_CLASSES = label_space.num_things
    if cfg.MODEL.CLASS_WEIGHTS:
        classes = classes_from_metadata(metadata)
        weights = _class_weights(cfg.MODEL.CLASS_WEIGHTS, classes)
        semantic.CLASS_WEIGHTS = weights
        instance.CLASS_WEIGHTS = [w for w, each in zip(weights, classes) if each.isthing]


def _class_weights(pairs: Any, classes: Sequence[PanopticClass]) -> List[float]:
    """``MODEL.CLASS_WEIGHTS`` by contiguous id. ConfigError: no pairs, unknown names, no positive numbers."""
    names = [each.name for each in classes]
    weights = [1.0] * len(names)
    for pair in pairs:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2):
            raise ConfigError(
                f'MODEL.CLASS_WEIGHTS holds {pair!r}; write pairs such as [["car", 2.0]]'
            )
        name, weight = pair
        if name not in names:
            raise ConfigError(
                f"MODEL.CLASS_WEIGHTS names the class '{name}'; {hint_at(name, names)}"
            )
        if not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
            raise ConfigError(
                f"MODEL.CLASS_WEIGHTS gives {name} the weight {weight!r}; give a positive number"
            )
        weights[names.index(name)] = float(weight)
    return weights


def check_device(cfg: CfgNode) -> None:
    """Raise ConfigError when ``MODEL.DEVICE`` is a GPU and torch sees none."""
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', but torch sees no GPU; add MODEL.DEVICE cpu"
        )
