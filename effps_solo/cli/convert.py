"""``effps-solo convert``: a published checkpoint becomes one for ``MODEL.WEIGHTS``."""

import argparse
import json
import os
from typing import TYPE_CHECKING, Any, Dict

from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import CheckpointError, ConfigError
from effps_solo.utils.version import __version__

from .arguments import add_config_options

if TYPE_CHECKING:
    from detectron2.config import CfgNode

SUFFIX = ".pth"
# effps_solo.checkpoint.convert.LAYOUTS, which --help must not import.
LAYOUTS = ("auto", "efficientps", "adelaidet", "solo", "mmdet", "timm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Input, output, layout, target config."""
    parser.add_argument("--input", required=True, metavar="FILE", help="the published checkpoint")
    parser.add_argument(
        "--output", required=True, metavar="FILE.pth", help="what to write; the report is FILE.json"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="auto", help="default: by its keys")
    parser.add_argument(
        "--config-file", default="", metavar="FILE", help="fit the weights to this config's model"
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Convert, write FILE.pth and FILE.json, print the report. Returns 0."""
    from effps_solo.checkpoint.convert import convert_checkpoint, fit_to_model, settings_conflicts
    from effps_solo.checkpoint.safe_loading import safe_load_checkpoint

    _check_output(args.input, args.output)
    cfg = _load_config(args)
    keep_se = cfg is not None and cfg.MODEL.EFFICIENTNET.SQUEEZE_EXCITE
    loaded = safe_load_checkpoint(args.input, allow_unsafe=args.allow_unsafe)
    try:
        state, report = convert_checkpoint(loaded, args.layout, squeeze_excite=keep_se)
        if cfg is not None:
            from detectron2.modeling import build_model

            state = fit_to_model(state, report, dict(build_model(cfg).state_dict()))
            report.conflicts = settings_conflicts(report.settings, cfg)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint '{args.input}': {error}") from error
    _write(args.output, state, report.to_dict())
    print(f"{report.to_text()}\nwritten: {args.output}")
    return 0


def _check_output(source: str, output: str) -> None:
    if not output.endswith(SUFFIX):
        raise CheckpointError(f"--output '{output}' must end in {SUFFIX}")
    if os.path.realpath(source) == os.path.realpath(output):
        raise CheckpointError(f"--output '{output}' is the input; choose another name")


def _load_config(args: argparse.Namespace) -> "CfgNode | None":
    from effps_solo.config import load_config

    if not args.config_file:
        if args.opts:
            raise ConfigError("--opts needs --config-file")
        return None
    overrides = [*args.opts, "MODEL.DEVICE", "cpu"]
    return load_config(args.config_file, overrides, allow_unsafe=args.allow_unsafe)


def _write(path: str, state: Dict[str, Any], report: Dict[str, Any]) -> None:
    """``path`` and its report; files appear whole or not at all."""
    import torch

    from effps_solo.checkpoint.checkpointer import VERSION_KEY

    # Copies, so that nothing of the source file that is not needed is stored with them.
    weights = {key: value.clone() for key, value in state.items()}
    content = {"model": weights, VERSION_KEY: __version__}
    write_atomically(path, lambda file: torch.save(content, file))
    text = json.dumps(report, indent=2) + "\n"
    write_atomically(f"{path[: -len(SUFFIX)]}.json", text.encode())
