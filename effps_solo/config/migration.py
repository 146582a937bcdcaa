"""Migration of config files that older versions of this package wrote: renamed and removed keys.

Every config that a program saves states the version that wrote it, as ``EFFPS_SOLO.VERSION`` (Detectron2's
own ``VERSION`` counts other changes). A file without it is one of 0.1, or was written by hand.
"""

from typing import Any, Callable, Dict, Tuple

from packaging.version import Version

from effps_solo.utils.compatibility import version_of
from effps_solo.utils.errors import ConfigError

Migration = Callable[[Dict[str, Any]], None]
"""Changes the content of a YAML file in place; leaves content without the old keys as it is."""

VERSION_KEY = "EFFPS_SOLO.VERSION"
_ABSENT = object()


def renamed(old: str, new: str) -> Migration:
    """The migration that gives the key or section ``old`` (dotted) the name ``new``."""
    *parents, name = new.split(".")

    def migration(content: Dict[str, Any]) -> None:
        if (value := _take(content, old)) is _ABSENT:
            return
        section: Any = content
        for parent in parents:
            section = section.setdefault(parent, {})
        if not isinstance(section, dict) or name in section:
            raise ConfigError(f"'{old}' is called '{new}' now, and both are given; delete '{old}'")
        section[name] = value

    return migration


def removed(key: str) -> Migration:
    """The migration that drops the key or section ``key`` (dotted), which has no effect any more."""
    return lambda content: _take(content, key)


# (version that renamed or removed a key, migration), oldest first; applied to files of older versions.
MIGRATIONS: Tuple[Tuple[str, Migration], ...] = ()


def migrate(content: Dict[str, Any], file: str) -> None:
    """Bring the keys of a config file to those of this version, in place; removes the version that it states.

    Logs a warning when a newer version wrote the file.

    Raises:
        UserError: the version that ``file`` states is invalid.
        ConfigError: an old and a new name of one key are both given.
    """
    source = f"config file '{file}'"
    stated = _take(content, VERSION_KEY)
    written = version_of(None if stated is _ABSENT else stated, source)
    for version, migration in MIGRATIONS:
        if written < Version(version):
            try:
                migration(content)
            except ConfigError as error:
                raise ConfigError(f"{source}: {error}") from error


def _take(section: Any, key: str) -> Any:
    """Remove a dotted key, and sections that become empty; returns its value, or _ABSENT."""
    name, _, rest = key.partition(".")
    if not isinstance(section, dict) or name not in section:
        return _ABSENT
    if not rest:
        return section.pop(name)
    value = _take(section[name], rest)
    if value is not _ABSENT and not section[name]:
        del section[name]
    return value
