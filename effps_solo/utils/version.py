"""The version of the package; also written into checkpoints and saved configs."""

__version__ = "0.2.0"
