"""A config for a data set and a machine, every value with its reason.

:mod:`.fingerprint` measures the training images, :mod:`.machine` a training step. The rules are in
:mod:`.frame` (sizes), :mod:`.levels` (the instance head), :mod:`.training` and :mod:`.network`;
:mod:`.planner` applies them, :mod:`.config_file` writes the result, :mod:`.bound` tells what it costs.
"""
