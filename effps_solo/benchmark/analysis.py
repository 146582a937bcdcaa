"""What each module of a model costs: parameters, arithmetic and time.

The modules of a depth share the whole among them: a module that has rows for its parts keeps a row for
what it does itself, and what happens outside of all modules has one, too. So every column adds up.
"""

from collections import Counter
from typing import Any, Dict, List

import numpy as np
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effps_solo.inference.predictor import Predictor

from .rounds import NUM_WARM_UP, median_shares
from .stages import Scopes, clock

OUTSIDE = "outside of modules"
ITSELF = " (itself)"

Row = Dict[str, Any]


def analyze(
    predictor: Predictor, image: np.ndarray, depth: int, num_runs: int, trained: nn.Module
) -> List[Row]:
    """Measure one prediction again and again. The modules of ``predictor`` stay wrapped.

    Args:
        image: (H, W, 3) uint8 in the predictor's format.
        depth: of the modules that get a row: 1 for backbone, heads and fusion.
        trained: the model before its norms are folded, whose parameters count.

    Returns:
        a row for each module that has a cost: "module", "parameters", "macs", "seconds" (median) and
        "share" of the time; the slowest first.
    """
    model = predictor.model
    names = _modules(model, depth)
    scopes = Scopes(clock(next(model.parameters()).device.type))
    for name in names:
        scopes.wrap(model.get_submodule(name), "forward", name)

    def predict() -> Dict[str, float]:
        with scopes.scope(OUTSIDE):
            predictor.panoptic(image)
        return scopes.take()

    for _ in range(NUM_WARM_UP):
        predict()
    seconds = median_shares([predict() for _ in range(num_runs)])
    with FlopCounterMode(display=False) as counter:
        scopes.meter = lambda: counter.get_total_flops() / 2
        macs = predict()
    parameters = _own_parameters(trained, names)
    whole = sum(seconds.values())
    rows = [
        {
            "module": name + ITSELF * any(other.startswith(f"{name}.") for other in names),
            "parameters": parameters[name],
            "macs": macs.get(name, 0.0),
            "seconds": seconds.get(name, 0.0),
            "share": seconds.get(name, 0.0) / whole,
        }
        for name in (*names, OUTSIDE)
        if parameters[name] or seconds.get(name)
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


def _modules(model: nn.Module, depth: int) -> List[str]:
    """Names of the modules down to ``depth``; lists of modules, which do nothing, are no level."""
    names = []
    levels = {"": 0}
    for name, module in list(model.named_modules())[1:]:  # but for the model itself
        is_list = isinstance(module, (nn.ModuleList, nn.ModuleDict))
        levels[name] = levels[name.rpartition(".")[0]] + (not is_list)
        if levels[name] <= depth and not is_list:
            names.append(name)
    return names


def _own_parameters(model: nn.Module, names: List[str]) -> Counter[str]:
    """Name or OUTSIDE -> parameters that no deeper one of ``names`` has."""
    counts: Counter[str] = Counter()
    for path, parameter in model.named_parameters():
        owners = [name for name in names if path.startswith(f"{name}.")]
        counts[max(owners, key=len, default=OUTSIDE)] += parameter.numel()
    return counts
