"""Saving, loading and resuming: Detectron2's checkpointer without its pickles."""

import logging
import os
from typing import Any, Dict, List, Optional, Sequence, cast
from urllib.parse import parse_qs, urlparse

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.compatibility import version_of
from effps_solo.utils.errors import CheckpointError
from effps_solo.utils.version import __version__

from .class_fitting import (
    different_classes,
    fit_to_classes,
    is_reordered,
    same_classes,
    what_was_taken_over,
)
from .model_folder import (
    CLASSES_KEY,
    CLASSES_NAME,
    WEIGHTS_NAME,
    Classes,
    classes_of,
    plain_classes,
    read_classes,
)
from .safe_loading import safe_load_checkpoint

IMAGENET_PREFIX = "imagenet://"
VERSION_KEY = "effps_solo_version"  # of what wrote a checkpoint; those of 0.1 have none
EMA_KEY = "ema"  # of the averaged weights in a checkpoint
logger = logging.getLogger(__name__)
_PLAIN_TYPES = (type(None), bool, int, float, complex, str, bytes)


class CheckpointWriteError(CheckpointError):
    """A checkpoint could not be written; those before it are as they were."""


class EffPSCheckpointer(DetectionCheckpointer):
    """DetectionCheckpointer that runs no code from a file and takes ``imagenet://NAME``.

    Files are written under another name and then renamed, so that a killed run leaves whole
    checkpoints only, and hold nothing but tensors and plain values, so that they load safely. They name
    the classes that the network tells apart: weights for other classes are matched by name.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: Optional[bool] = None,
        allow_unsafe: bool = False,
        use_ema: bool = False,
        complete: bool = False,
        classes: Sequence[PanopticClass] = (),
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            model, save_dir, save_to_disk, checkpointables: see Detectron2.
            allow_unsafe: load pickles that can run code.
            use_ema: of a checkpoint that holds averaged weights, too, load those into the model.
            complete: refuse checkpoints that lack tensors of the model, or classes.
            classes: of the model, by contiguous id; empty: of a network that tells none apart, whose
                weights are loaded as they are.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.use_ema = use_ema
        self.allow_unsafe = allow_unsafe
        self.complete = complete
        self.classes = tuple(classes)
        self._resumes = False

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``name``.pth to ``save_dir`` and make it the one to resume from.

        Raises:
            CheckpointError: the state holds something that could not be loaded safely again.
            CheckpointWriteError: the disk is full, or the folder cannot be written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data: Dict[str, Any] = {"model": self.model.state_dict(), VERSION_KEY: __version__}
        if self.classes:
            data[CLASSES_KEY] = plain_data(plain_classes(self.classes), CLASSES_KEY)
        for key, checkpointable in self.checkpointables.items():
            data[key] = plain_data(checkpointable.state_dict(), key)
        data.update({key: plain_data(value, key) for key, value in kwargs.items()})
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            write_atomically(path, lambda file: torch.save(data, file), durable=True)
            self.tag_last_checkpoint(os.path.basename(path))
        except (OSError, RuntimeError) as error:
            # torch's writer fails once more over the system's error.
            cause = error.__context__ if isinstance(error.__context__, OSError) else error
            raise CheckpointWriteError(
                f"checkpoint '{path}' cannot be written ({cause}); free space on its disk or choose "
                "another OUTPUT_DIR"
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make a file of ``save_dir`` the one to resume from."""
        tag = os.path.join(self.save_dir, "last_checkpoint")
        write_atomically(tag, last_filename_basename.encode(), durable=True)

    def load(self, path: str, checkpointables: Optional[List[str]] = None) -> Dict[str, Any]:
        """Load ``path`` into the model and, if they are in it, into the checkpointables.

        Args:
            path: a file, a model folder, a URL that Detectron2 knows, ``imagenet://NAME`` (the backbone
                alone), or "" for nothing.
            checkpointables: names of those to load; None for all. A checkpoint whose training goes on so
                must have the classes and the tensors of the model.

        Returns:
            what else the checkpoint holds.

        Raises:
            CheckpointError: missing, damaged, unsafe, or a checkpoint of something else altogether.
        """
        path = path or ""
        if os.path.isdir(path):
            path = os.path.join(path, WEIGHTS_NAME)
        if self.complete and (not path or path.startswith(IMAGENET_PREFIX)):
            raise CheckpointError(
                f"the weights '{path}' are none of a trained model; name a checkpoint: "
                "MODEL.WEIGHTS output/model_final.pth"
            )
        if path.startswith(IMAGENET_PREFIX):
            from .imagenet import load_imagenet_weights

            try:
                load_imagenet_weights(self.model, path.removeprefix(IMAGENET_PREFIX))
            except (FileNotFoundError, ValueError) as error:
                raise CheckpointError(str(error)) from error
            return {}
        if path:
            self._require_file(path)
        self._resumes = checkpointables is None and bool(self.checkpointables)
        try:
            return cast(Dict[str, Any], super().load(path, checkpointables=checkpointables))
        finally:
            self._parsed_url_during_load = None  # Detectron2 leaves it set after an error

    def _require_file(self, path: str) -> None:
        try:
            local = self.path_manager.get_local_path(urlparse(path)._replace(query="").geturl())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"checkpoint '{path}' cannot be fetched: {error}") from error
        if not os.path.isfile(local):
            others = f", {IMAGENET_PREFIX}NAME or '', or take --resume away"
            raise CheckpointError(
                f"checkpoint '{path}' does not exist; set MODEL.WEIGHTS to a checkpoint"
                f"{'' if self.complete else others}"
            )

    def _load_file(self, filename: str) -> Dict[str, Any]:
        if filename.endswith(".pkl") and self.allow_unsafe:
            return cast(Dict[str, Any], super()._load_file(filename))
        loaded = safe_load_checkpoint(filename, allow_unsafe=self.allow_unsafe)
        version_of(loaded.get(VERSION_KEY), f"checkpoint '{filename}'")
        if "model" not in loaded:
            loaded = {"model": loaded}
        if CLASSES_KEY not in loaded and (classes := _classes_beside(filename)):
            loaded[CLASSES_KEY] = plain_classes(classes)
        if self.use_ema and isinstance(loaded.get(EMA_KEY), dict) and "model" in loaded[EMA_KEY]:
            self.logger.info("Taking the averaged weights of %s", filename)
            loaded["model"] = loaded.pop(EMA_KEY)["model"]
        _check_state_dict(loaded["model"], filename)
        url = self._parsed_url_during_load
        query: Dict[str, List[str]] = parse_qs(url.query) if url else {}
        if query.pop("matching_heuristics", ["False"]) == ["True"]:
            loaded["matching_heuristics"] = True
        if query:
            raise CheckpointError(f"checkpoint '{filename}': unknown query {sorted(query)}")
        return loaded

    def _load_model(self, checkpoint: Dict[str, Any]) -> Any:
        url = self._parsed_url_during_load
        source = f"checkpoint '{url.geturl() if url else ''}'"
        if self.classes and CLASSES_KEY in checkpoint:
            self._fit_classes(checkpoint, source)
        incompatible = super()._load_model(checkpoint)
        # torch fills in a missing num_batches_tracked by itself and does not report it.
        own = {key for key in self.model.state_dict() if not key.endswith("num_batches_tracked")}
        shapes = [key for key, _, _ in incompatible.incorrect_shapes]
        if own and not own - set(incompatible.missing_keys):
            raise CheckpointError(
                f"{source}: none of its tensors fits the model; it is one of another network (unknown "
                f"here: {incompatible.unexpected_keys[:3]}, of another shape: {shapes[:3]})"
            )
        missing = sorted(own & {*incompatible.missing_keys, *shapes})
        if missing and (self.complete or self._resumes):
            raise CheckpointError(
                f"{source} is of another network: it has nothing for {len(missing)} tensors of the model "
                f"({', '.join(missing[:3])} ...){_of_other_norms(missing)}{self._instead_of_resuming()}"
            )
        return incompatible

    def _fit_classes(self, checkpoint: Dict[str, Any], source: str) -> None:
        """Make its weights those for the classes of the model, matched by name."""
        before = classes_of(checkpoint[CLASSES_KEY], source)
        if same_classes(before, self.classes):
            return
        is_complete = is_reordered(before, self.classes)
        if self._resumes or (self.complete and not is_complete):
            raise CheckpointError(
                f"{source} was trained for other classes: {different_classes(before, self.classes)}"
                f"{self._instead_of_resuming()}"
            )
        shared = getattr(self.model, "things_share_a_channel", False)
        fitted = fit_to_classes(
            checkpoint["model"], self.model.state_dict(), (before, self.classes), shared
        )
        checkpoint["model"] = {**checkpoint["model"], **fitted}
        if is_complete:
            told = "the classes are in another order; they are matched by name"
        else:
            told = what_was_taken_over(before, self.classes)
        logger.info("%s: %s", source, told)

    def _instead_of_resuming(self) -> str:
        return "; take --resume away and set MODEL.WEIGHTS to it" if self._resumes else ""


def _of_other_norms(missing: Sequence[str]) -> str:
    """What to do where the tensors that are missing are the statistics of batch norms alone."""
    if not all(key.endswith(("running_mean", "running_var")) for key in missing):
        return ""
    return "; it was trained with other norms, as 0.1 did with MODEL.SOLOV2.NORM GN: set that key"


def _classes_beside(filename: str) -> Classes:
    """Those of a model folder whose weights the file is; () of any other."""
    folder, name = os.path.split(filename)
    if name != WEIGHTS_NAME or not os.path.isfile(os.path.join(folder, CLASSES_NAME)):
        return ()
    return read_classes(folder)


def checkpoint_classes(path: str, allow_unsafe: bool = False) -> Classes:
    """The classes that a model folder or a checkpoint on this machine names; () where it names none.

    Raises CheckpointError as :func:`safe_load_checkpoint`, and for a damaged list.
    """
    if os.path.isdir(path):
        return read_classes(path)
    if not os.path.isfile(path) or path.endswith(".safetensors"):
        return _classes_beside(path)
    plain = safe_load_checkpoint(path, allow_unsafe=allow_unsafe).get(CLASSES_KEY)
    return () if plain is None else classes_of(plain, f"checkpoint '{path}'")


def _check_state_dict(state_dict: Any, filename: str) -> None:
    if not isinstance(state_dict, dict) or not state_dict:
        raise CheckpointError(f"checkpoint '{filename}' holds no weights")
    for key, value in state_dict.items():
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise CheckpointError(
                f"checkpoint '{filename}' is not one of a network: '{key}' is a "
                f"{type(value).__name__}, not a tensor"
            )


def plain_data(value: Any, name: str) -> Any:
    """A copy of nested data in built-in containers, plain values and tensors.

    numpy scalars become Python's, numpy arrays tensors. Raises CheckpointError, with the ``name`` of the
    value, for any other type.
    """
    if isinstance(value, torch.Tensor) or type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {
            plain_data(k, f"{name} key"): plain_data(v, f"{name}.{k}") for k, v in value.items()
        }
    if isinstance(value, (list, tuple)):
        items = [plain_data(v, f"{name}[{i}]") for i, v in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise CheckpointError(
        f"cannot save {name}: a {type(value).__name__} could not be loaded again safely"
    )
