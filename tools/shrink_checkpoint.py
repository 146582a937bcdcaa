#!/usr/bin/env python3
"""Make a checkpoint small enough to pass on: weights alone, in 16 bits, with the config that they need.

    python tools/shrink_checkpoint.py --input output/run/model_final.pth --output my_model/

writes my_model/model.pth and my_model/config.yaml, which ``effps_solo.load("my_model/model.pth")`` opens.
"""

import argparse
import os
from pathlib import Path
from typing import Any, Dict

import torch

from effps_solo.checkpoint.checkpointer import VERSION_KEY
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.config import read_config
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.version import __version__


def main() -> None:
    """Read the command line, write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, type=Path, help="OUTPUT_DIR/model_final.pth")
    parser.add_argument("--output", required=True, type=Path, help="folder")
    args = parser.parse_args()
    cfg = read_config(os.fspath(args.input.parent / "config.yaml"))
    cfg.MODEL.WEIGHTS = ""
    state = weights_in_16_bits(safe_load_checkpoint(os.fspath(args.input))["model"])
    content = {"model": state, VERSION_KEY: __version__}
    write_atomically(args.output / "model.pth", lambda file: torch.save(content, file))
    write_atomically(args.output / "config.yaml", cfg.dump().encode())


def weights_in_16_bits(state: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    """Kernels in half precision; vectors, among them variances that it cannot hold, as they are."""
    return {
        name: tensor.half() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        for name, tensor in state.items()
    }


if __name__ == "__main__":
    main()
