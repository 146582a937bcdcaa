"""``effps-solo replay``: repeat a training step whose loss or gradient was NaN or infinite."""

import argparse

from .arguments import add_config_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Config, dump, overrides."""
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="of the run: OUTPUT_DIR/config.yaml"
    )
    parser.add_argument(
        "--input",
        required=True,
        metavar="FILE",
        help="OUTPUT_DIR/nonfinite_<iteration>_rank<n>.pth",
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the losses, recorded and repeated, and where the first bad value appears. Returns 0."""
    from effps_solo.config import check_device, load_config
    from effps_solo.engine import Trainer
    from effps_solo.engine.dump import load_dump
    from effps_solo.engine.replay import Replay
    from effps_solo.modeling.precision import Precision

    dump = load_dump(args.input)
    cfg = load_config(args.config_file, args.opts, allow_unsafe=args.allow_unsafe)
    check_device(cfg)
    replay = Replay(Trainer.build_model(cfg), dump, Precision.from_config(cfg))
    print(f"iteration {dump.iteration}")
    for each, losses in zip(dump.passes, replay.losses):
        print("images " + ", ".join(str(x.get("file_name")) for x in each.batch))
        for name, value in losses.items():
            print(f"  {name} {value:.9g} (recorded {each.losses[name]:.9g})")
    print(f"first module with an output that is not finite: {replay.first_module or 'none'}")
    print(f"parameters with a gradient that is not finite: {len(replay.parameters)}")
    for name in replay.parameters:
        print(f"  {name}")
    return 0
