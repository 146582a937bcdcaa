"""The trained models that are part of the package, by name."""

import os
from pathlib import Path
from typing import Dict, Union

from .errors import UserError, hint_at

PACKAGE_PREFIX = "package://"  # of MODEL.WEIGHTS
_FOLDER = Path(__file__).parents[1] / "weights"


def packaged_models() -> Dict[str, Path]:
    """The model folder of each name; the README.md in it says what the model knows, and its licence."""
    return {path.name: path for path in sorted(_FOLDER.iterdir()) if path.is_dir()}


def located_model(path: Union[str, "os.PathLike[str]"]) -> Path:
    """``path``, or where nothing is there and a packaged model has this name, that one's folder."""
    if os.path.lexists(path):
        return Path(path)
    return packaged_models().get(os.fspath(path), Path(path))


def located_weights(weights: str) -> str:
    """``MODEL.WEIGHTS`` with the model folder in place of ``package://NAME``.

    Raises UserError: no packaged model has this name.
    """
    if not weights.startswith(PACKAGE_PREFIX):
        return weights
    name, models = weights.removeprefix(PACKAGE_PREFIX), packaged_models()
    if name not in models:
        raise UserError(
            f"MODEL.WEIGHTS is '{weights}', and no model of the package is '{name}'; "
            f"{hint_at(name, list(models))}"
        )
    return str(models[name])
