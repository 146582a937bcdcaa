"""``effps-solo app``: a web page to drop images into."""

import argparse
import itertools
from pathlib import Path
from typing import Dict, List, Mapping, Optional

from effps_solo.inference.exported import EXPORTED_SUFFIXES
from effps_solo.utils.errors import UserError

from .arguments import add_arithmetic_options, add_config_options, add_max_megapixels, positive

DEFAULT_NAME = "street scenes, the model of the package"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, where to listen, limits."""
    parser.epilog = "Local by default: --host 0.0.0.0 lets other machines in, without a password."
    add = parser.add_argument
    add(
        "--model",
        nargs="+",
        default=[],
        metavar="PATH",
        help="model folders, configs, checkpoints, exported models (default: the package's own)",
    )
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    add("--port", type=positive, default=7860, help="(%(default)s)")
    add_arithmetic_options(parser)
    add_max_megapixels(parser)
    add(
        "--max-megabytes",
        type=float,
        default=20.0,
        metavar="N",
        help="larger files are refused (%(default)s)",
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Returns 0."""
    from effps_solo.inference.load import PanopticModel, load

    try:
        from effps_solo.app.page import serve
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("the web page needs gradio: pip install gradio") from error
    from effps_solo.app.session import Limits, Session

    models: Dict[str, PanopticModel] = {}
    names: List[Optional[str]] = args.model or [None]
    for name in names:
        model = load(
            name,
            threads=args.threads,
            precision=args.precision,
            max_megapixels=args.max_megapixels,
            overrides=() if Path(name or "").suffix in EXPORTED_SUFFIXES else args.opts,
            allow_unsafe=args.allow_unsafe,
        )
        models[_unique(_title(Path(name)) if name else DEFAULT_NAME, models)] = model
    session = Session(models, Limits(args.max_megapixels, args.max_megabytes))
    print(f"http://{args.host}:{args.port} (Ctrl-C ends it)", flush=True)
    serve(session, args.host, args.port)
    return 0


def _title(path: Path) -> str:
    """The name of a file; of a folder, many of which are called "model", that of the one above, too."""
    return "/".join(path.resolve().parts[-2:]) if path.is_dir() else path.name


def _unique(name: str, taken: Mapping[str, object]) -> str:
    """``name``, with a number when another model has it."""
    names = itertools.chain([name], (f"{name} ({count})" for count in itertools.count(2)))
    return next(unique for unique in names if unique not in taken)
