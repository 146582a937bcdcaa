"""The version of this package that wrote a file, and a warning where it is newer."""

import logging
from typing import Any

from packaging.version import InvalidVersion, Version

from .errors import UserError
from .version import __version__

logger = logging.getLogger(__name__)

FIRST_VERSION = Version("0.1.0")  # of files without a version


def version_of(value: Any, source: str) -> Version:
    """Parse the version that a file states, with one line of warning where it is newer than this package.

    Args:
        value: what the file states, a string such as "0.2.0"; None for a file without a version.
        source: of it, for messages: "config file 'x.yaml'".

    Raises:
        UserError: ``value`` is not a valid version.
    """
    if value is None:
        return FIRST_VERSION
    try:
        version = Version(value)
    except (InvalidVersion, TypeError) as error:
        raise UserError(
            f"{source}: the version of effps_solo is {value!r}; it must be text like '{__version__}'"
        ) from error
    if version > Version(__version__):
        logger.warning(
            "%s was written by effps_solo %s, this is %s: update effps_solo if it does not work",
            source,
            version,
            __version__,
        )
    return version
