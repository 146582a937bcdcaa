"""A config for a data set and a machine, every value with its reason.

:mod:`.fingerprint` measures the training images, :mod:`.machine` the machine, :mod:`.rules` decide from both,
:mod:`.config_file` writes what they decide, :mod:`.bound` tells what it costs. :func:`.planner.plan` runs them.
"""
