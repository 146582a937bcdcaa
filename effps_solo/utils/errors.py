"""Errors that a user can mend; the command line prints them without a traceback."""

INTERRUPTED = 130  # the shell's status of a command that Ctrl-C ended
# The end of a message about a file that could run code when it is read.
UNSAFE_HINT = "pass --allow-unsafe (allow_unsafe=True) only if you trust whoever made it"


class UserError(ValueError):
    """Wrong input; the message names the file or key, the value seen and what to do."""


class ConfigError(UserError):
    """A config file or an override that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used."""
