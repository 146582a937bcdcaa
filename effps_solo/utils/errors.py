"""Errors that a user can mend; the command line prints them without a traceback."""

INTERRUPTED = 130  # the shell's status of a command that Ctrl-C ended


class UserError(ValueError):
    """Wrong input; the message names the file or key, the value seen and what to do."""


class ConfigError(UserError):
    """A config file or an override that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used."""
