"""``python -m effps_solo COMMAND``, also the console script ``effps-solo``.

A command is a module of :mod:`effps_solo.cli` with ``add_arguments(parser)`` and ``run(args) -> int``
(the exit status). Its heavy imports belong inside ``run``, so that ``--help`` answers at once.
"""

import argparse
import importlib
import logging
import sys
from types import ModuleType
from typing import Dict, List, Optional, Sequence

from effps_solo.cli.quick_imports import defer_compiler
from effps_solo.utils.errors import UserError
from effps_solo.utils.machine import keep_freed_memory
from effps_solo.utils.version import __version__

# Name -> what it does; the module is effps_solo.cli.NAME with "_" for "-".
COMMANDS: Dict[str, str] = {
    "env": "show versions, devices and data sets, and how to mend what is wrong",
    "import-dataset": "make a data set from labels of other tools: COCO, labelme, YOLO, CVAT and more",
    "check-dataset": "find what is wrong with a data set, and mend areas and boxes",
    "show-dataset": "draw ground truth, what training sees of it, and where a model disagrees with it",
    "plan": "write a config for a data set and this machine, every value with its reason",
    "train": "train a model; train_net.py is the same",
    "evaluate": "evaluate a trained or an exported model on the data sets of a config",
    "tune": "find the thresholds of the panoptic fusion on the validation images",
    "report": "write an HTML report of an evaluation, or compare two",
    "predict": "draw panoptic predictions of images, folders and videos, and write them as labels",
    "app": "serve a web page to drop images into",
    "pack": "write a trained model as one folder that needs no data set",
    "export": "write a trained model as one graph for ONNX Runtime, OpenVINO or torch",
    "oracle": "evaluate the ground truth itself: the bound of grids and mask resolution",
    "compare": "train methods alike on several seeds, and tell which differences are real",
    "benchmark": "measure time, memory and arithmetic, in torch and in other runtimes",
    "analyze": "show which modules the time and the arithmetic go to",
    "convert": "convert published EfficientPS, SOLOv2 and EfficientNet weights",
    "replay": "repeat a training step whose loss was no number",
}
ALIASES = {"demo": "predict"}  # as in Detectron2
# They run networks in this process and nothing else; what measures networks sees to its memory itself.
_RUN_NETWORKS = ("predict", "app", "export", "tune", "show-dataset")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program; None for ``sys.argv``.

    Returns:
        the exit status: the command's, 2 for a command line or an input that cannot be used.
    """
    # Of machines with CUDA's compiler and no GPU: it warns that there is no CUDA, which nobody asked for.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    words: List[str] = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0].startswith("-"):
        return _run_without_command(words)
    name = ALIASES.get(words[0], words[0])
    if name not in COMMANDS:
        print(f"effps-solo: unknown command '{name}'\n\n{_overview()}", file=sys.stderr)
        return 2
    command = _load(name)
    parser = argparse.ArgumentParser(prog=f"effps-solo {name}", description=COMMANDS[name])
    command.add_arguments(parser)
    args = parser.parse_args(words[1:], argparse.Namespace(words=words))
    defer_compiler()
    if name in _RUN_NETWORKS:
        keep_freed_memory()
    try:
        return int(command.run(args))
    except (UserError, FileNotFoundError) as error:
        print(f"effps-solo {name}: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(f"effps-solo {name}: {error}\n`effps-solo env` says how to mend it", file=sys.stderr)
    return 2


def _run_without_command(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="effps-solo",
        usage="effps-solo COMMAND ...",
        description="Panoptic segmentation with EfficientPS and SOLOv2.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"effps_solo {__version__}")
    parser.parse_args(words)
    parser.print_help(sys.stderr)
    return 2


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["commands:", *lines, "", "effps-solo COMMAND --help shows a command's options"]
    )


def _load(name: str) -> ModuleType:
    return importlib.import_module(f".cli.{name.replace('-', '_')}", __package__)


if __name__ == "__main__":
    raise SystemExit(main())
