"""A model as one folder that needs no data set: weights, config, classes, and a card for people.

    model.safetensors   the weights, nothing else
    config.yaml         every key, with no path to the data of the training
    classes.json        {"format": 1, "classes": [{name, isthing, dataset_id, color} by contiguous id]}
    README.md           the card

beside them, perhaps, what ``effps-solo export`` made of it: model.onnx, model.xml or model.pt2.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.atomic import write_folder_atomically
from effps_solo.utils.errors import CheckpointError, UserError

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.yaml"  # Detectron2 writes one into OUTPUT_DIR, too
CLASSES_NAME = "classes.json"
CARD_NAME = "README.md"
NAMES = (WEIGHTS_NAME, CONFIG_NAME, CLASSES_NAME, CARD_NAME)
FOLDER_NAME = "model"  # in OUTPUT_DIR
CLASSES_KEY = "classes"  # of a checkpoint
_EXPORTED = (".onnx", ".xml", ".bin", ".pt2")
_FORMAT = 1  # of classes.json
AnyPath = Union[str, "os.PathLike[str]"]
Classes = Tuple[PanopticClass, ...]


def is_model_folder(path: AnyPath) -> bool:
    """Whether ``path`` is a folder with weights and classes."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (WEIGHTS_NAME, CLASSES_NAME))


def plain_classes(classes: Sequence[PanopticClass]) -> List[Dict[str, Any]]:
    """As checkpoints and ``classes.json`` hold them; :func:`classes_of` reads it."""
    return [asdict(one) for one in classes]


def classes_of(plain: Any, source: str) -> Classes:
    """From :func:`plain_classes`. Raises CheckpointError, which names ``source``, where it is none."""
    try:
        classes = tuple(map(PanopticClass.from_dict, plain))
        if not classes:
            raise ValueError("no class")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the class list of {source} is damaged: {error}") from error
    return classes


def read_classes(folder: AnyPath) -> Classes:
    """The classes of a model folder. Raises CheckpointError."""
    path = os.path.join(folder, CLASSES_NAME)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        version, plain = content["format"], content["classes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error!r}); pack the model again") from error
    if version != _FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, this program knows {_FORMAT}; update effps_solo"
        )
    return classes_of(plain, path)


def write_model_folder(
    folder: AnyPath,
    *,
    weights: Mapping[str, Any],
    config: str,
    classes: Sequence[PanopticClass],
    card: str,
) -> List[str]:
    """Write a model folder: whole, or as it was before.

    Args:
        folder: new, empty, or a model folder, whose place it takes.
        weights: the state dict.
        config: the text of ``config.yaml``.
        card: the text of ``README.md``.

    Returns:
        the names of exported files in the old folder, which are of other weights and were removed.

    Raises:
        UserError: the folder holds other files, which are not to be removed.
        OSError: it cannot be written.
    """
    exported = _removable(Path(folder))

    def write(part: str) -> None:
        _save_weights(weights, os.path.join(part, WEIGHTS_NAME))
        texts = {
            CONFIG_NAME: config,
            CLASSES_NAME: _classes_text(classes),
            CARD_NAME: card,
        }
        for name, text in texts.items():
            Path(part, name).write_text(text, encoding="utf-8")

    write_folder_atomically(folder, write)
    return exported


def _removable(folder: Path) -> List[str]:
    """The exported files in it; UserError where something else would be lost."""
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if there and not is_model_folder(folder):
        raise UserError(
            f"'{folder}' holds {there[0]} and is no model folder; name another --output"
        )
    exported = [name for name in there if name.endswith(_EXPORTED)]
    if others := sorted({*there} - {*exported, *NAMES}):
        raise UserError(
            f"the model folder '{folder}' holds other files, too ({', '.join(others)}), which would be "
            "lost: move them, or name another --output"
        )
    return exported


def _classes_text(classes: Sequence[PanopticClass]) -> str:
    """JSON with a line for each class."""
    lines = [json.dumps(plain, ensure_ascii=False) for plain in plain_classes(classes)]
    return f'{{"format": {_FORMAT}, "classes": [\n' + ",\n".join(lines) + "\n]}\n"


def _save_weights(weights: Mapping[str, Any], path: str) -> None:
    import torch
    from safetensors.torch import save

    # The file has one copy of each tensor, in the order of its axes.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    Path(path).write_bytes(save(tensors))  # save_file would give the file to its owner alone


def weights_in_16_bits(state: Mapping[str, Any]) -> Dict[str, Any]:
    """Kernels in half precision; vectors, among them variances that it cannot hold, as they are."""
    return {
        name: tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        for name, tensor in state.items()
    }
