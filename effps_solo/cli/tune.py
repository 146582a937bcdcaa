"""``effps-solo tune``: the thresholds of the panoptic fusion, found on the validation images."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from effps_solo.utils.atomic import make_writable

from .arguments import add_config_options

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from effps_solo.evaluation.thresholds import Tuning
    from effps_solo.modeling.outputs import PanopticNetwork

_FIRST_LINE = "# Written by effps-solo tune"
_FUSION = "MODEL.PANOPTIC_FUSION"
_PLACES = ("MODEL.WEIGHTS", "OUTPUT_DIR")  # overrides that the written config holds, too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Config, file to write, overrides."""
    parser.epilog = (
        "The network runs once over DATASETS.TEST, the fusion for every candidate value of "
        "SCORE_THRESH, OVERLAP_THRESH and STUFF_AREA_FRACTION of MODEL.PANOPTIC_FUSION. They change only "
        "where that pays on images that did not choose them."
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="of a trained model")
    add(
        "--output",
        metavar="FILE",
        help="config to write, based on the other (default: CONFIG_tuned.yaml beside it)",
    )
    add_config_options(parser, "MODEL.WEIGHTS output/quickstart/model_final.pth")


def run(args: argparse.Namespace) -> int:
    """Print curves and choice, write the config, add a section to reports. Returns 0."""
    from effps_solo.config import load_config
    from effps_solo.engine import start_log
    from effps_solo.inference.model_config import with_trained_weights
    from effps_solo.inference.predictor import Predictor
    from effps_solo.modeling.outputs import PanopticNetwork
    from effps_solo.report import add_tuning
    from effps_solo.utils.errors import ConfigError

    start_log()
    cfg = load_config(args.config_file, args.opts, allow_unsafe=args.allow_unsafe)
    output = _output(args)
    if not cfg.MODEL.SEM_SEG_HEAD.NAME:
        raise ConfigError(
            "MODEL.SEM_SEG_HEAD.NAME is '': without a semantic head there is no fusion to tune"
        )
    if not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty: it names the data set to tune on")
    with_trained_weights(cfg)
    model = Predictor(cfg, allow_unsafe=args.allow_unsafe).model
    if not isinstance(model, PanopticNetwork):
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {type(model).__name__} has no fusion that can be tuned"
        )
    tuning = _tuning(cfg, model)
    print(_as_text(tuning))
    for report in add_tuning(cfg, tuning):
        print(f"Report: {report}")
    rest = _write_config(args, cfg, output, tuning)
    config, program = ["--config-file", str(output)], [sys.executable, "-m", "effps_solo"]
    print(f"Written: {output}. Predict with it:")
    print(f"  {shlex.join([*program, 'predict', *config, '--input', 'IMAGES', *rest])}")
    print("Put it into the model folder:")
    print(f"  {shlex.join([*program, 'pack', *config, *rest])}")
    return 0


def _output(args: argparse.Namespace) -> Path:
    """The file to write, checked before the work begins."""
    from effps_solo.utils.errors import UserError

    config = Path(args.config_file)
    output = Path(args.output or config.with_name(f"{config.stem}_tuned.yaml"))
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output '{output}' is a config; its name must end in .yaml")
    if output.exists() and (
        output.samefile(config) or not output.read_bytes().startswith(_FIRST_LINE.encode())
    ):
        raise UserError(
            f"'{output}' exists and was not written by tune; name another file by --output"
        )
    make_writable(output.parent, "--output")
    return output


def _tuning(cfg: "CfgNode", model: "PanopticNetwork") -> "Tuning":
    import torch
    from detectron2.data import MetadataCatalog

    from effps_solo.engine import Trainer
    from effps_solo.evaluation.candidates import CandidateCounts, count_candidates
    from effps_solo.evaluation.thresholds import ThresholdGrid, tune
    from effps_solo.modeling.outputs import FusionThresholds
    from effps_solo.modeling.precision import Precision
    from effps_solo.structures.classes import classes_from_metadata

    node = cfg.MODEL.PANOPTIC_FUSION
    current = FusionThresholds(node.SCORE_THRESH, node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION)
    loaders = {name: Trainer.build_test_loader(cfg, name) for name in cfg.DATASETS.TEST}
    classes = classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TEST[0]))
    found = CandidateCounts(ThresholdGrid.around(current, classes), classes)
    with torch.inference_mode(), Precision.from_config(cfg, "TEST").autocast():
        for name, loader in loaders.items():
            count_candidates(model, loader, name, found)
    return tune(found.counts, found.num_images, found.grid, classes, cfg.MODEL.WEIGHTS)


def _as_text(tuning: "Tuning") -> str:
    """Curves, choice and what it is worth."""
    from tabulate import tabulate

    parts = []
    for curve in tuning.curves:
        rows = zip(curve.values, curve.pq, curve.pq_things, curve.pq_stuff)
        headers = [curve.key, "PQ", "PQ things", "PQ stuff"]
        parts.append(tabulate(rows, headers, floatfmt=("g", ".2f", ".2f", ".2f")))
    headers = [_FUSION, "config", "tuned"]
    parts.append(tabulate(tuning.rows(), headers, floatfmt="g"))
    return "\n\n".join([*parts, "\n".join(tuning.sentences())])


def _write_config(
    args: argparse.Namespace, cfg: "CfgNode", output: Path, tuning: "Tuning"
) -> List[str]:
    """Returns the words of the command line that a prediction with the file needs, too."""
    import yaml

    from effps_solo.utils.atomic import write_atomically

    here = output.parent.resolve()
    content: Dict[str, Any] = {
        "_BASE_": os.path.relpath(Path(args.config_file).resolve(), here),
        "MODEL": {"PANOPTIC_FUSION": {key: value for key, _, value in tuning.rows()}},
    }
    given: List[Tuple[str, str]] = list(zip(args.opts[0::2], args.opts[1::2]))
    written = (*_PLACES, *(f"{_FUSION}.{key}" for key, *_ in tuning.rows()))
    rest = [word for pair in given if pair[0] not in written for word in pair]
    if any(key in _PLACES for key, _ in given):
        content["MODEL"]["WEIGHTS"] = os.path.abspath(cfg.MODEL.WEIGHTS)
        content["OUTPUT_DIR"] = os.path.abspath(cfg.OUTPUT_DIR)
    if cfg.DATASETS.DESCRIPTIONS and here != Path(args.config_file).resolve().parent:
        content["DATASETS"] = {"DESCRIPTIONS": list(cfg.DATASETS.DESCRIPTIONS)}
    comments = [f"{_FIRST_LINE} for {tuning.model}.", *(f"# {s}" for s in tuning.sentences())]
    text = "\n".join([*comments, yaml.safe_dump(content, sort_keys=False)])
    write_atomically(output, text.encode())
    return ["--opts", *rest] if rest else []
