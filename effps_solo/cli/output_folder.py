"""The folder that ``--output`` names."""

import tempfile
from pathlib import Path

from effps_solo.utils.errors import UserError


def make_writable(folder: Path) -> None:
    """Create ``folder`` if need be. Raises UserError when no file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output '{folder}' is not a folder to write to ({error.strerror}); name another"
        ) from error
