"""Packages that no package index gives: what is missing is said with how to get it."""

import importlib


def require_detectron2() -> None:
    """Raise ModuleNotFoundError with the way to install Detectron2 where it is missing."""
    try:
        importlib.import_module("detectron2")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "effps_solo needs Detectron2. In a checkout `make venv` installs it; elsewhere see the "
            "section 'Installation' of the README.",
            name="detectron2",
        ) from error
