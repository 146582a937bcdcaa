"""Errors that a user can mend; the command line prints them without a traceback."""

import difflib
from typing import Any, Sequence

INTERRUPTED = 130  # the shell's status of a command that Ctrl-C ended
# The end of a message about a file that could run code when it is read.
UNSAFE_HINT = "pass --allow-unsafe (allow_unsafe=True) only if you trust whoever made it"


class UserError(ValueError):
    """Wrong input; the message names the file or key, the value seen and what to do."""


class ConfigError(UserError):
    """A config file or an override that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used."""


def hint_at(unknown: Any, known: Sequence[str]) -> str:
    """The end of a message about a name that is none of ``known``: the one that resembles it, or all."""
    near = difflib.get_close_matches(str(unknown), known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
