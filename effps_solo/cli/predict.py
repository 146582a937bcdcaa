"""``effps-solo predict``: panoptic predictions of images, folders, videos, cameras, as pictures and files."""

import argparse
import errno
import glob
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence

from tqdm import tqdm

from effps_solo.utils.atomic import make_writable
from effps_solo.utils.errors import INTERRUPTED, UserError
from effps_solo.utils.image_io import IMAGE_SUFFIXES, VIDEO_SUFFIXES, as_rgb
from effps_solo.utils.packaged import packaged_models

from .arguments import (
    TRAINED,
    add_config_options,
    add_max_megapixels,
    add_runtime_options,
    probability,
)
from .label_options import add_label_options, label_writer_of

if TYPE_CHECKING:
    import numpy as np

    from effps_solo.inference.result import PanopticResult
    from effps_solo.inference.writer import PanopticWriter

_VIDEOS = "videos.json"  # those that are finished
Predict = Callable[["np.ndarray"], "PanopticResult"]

logger = logging.getLogger("effps_solo.predict")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of Detectron2's demo, and those of exported models."""
    parser.epilog = (
        "Without a model it takes the one that comes with the package, which knows generated street "
        "scenes; without --input a picture of one."
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--config-file", metavar="FILE", help="the config of a trained model")
    model.add_argument(
        "--model",
        metavar="PATH",
        help="or a model folder, an exported model or a checkpoint: .onnx, .xml, .pt2, .pth; or a "
        f"model of the package: {', '.join(packaged_models())}",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, videos, folders of them and patterns such as 'photos/*.jpg'",
    )
    parser.add_argument(
        "--webcam",
        nargs="?",
        type=int,
        const=0,
        default=None,
        metavar="NUMBER",
        help="read from a camera until Ctrl-C instead",
    )
    parser.add_argument(
        "--output",
        default="output/demo",
        metavar="DIR",
        help="folder for the results (default: %(default)s)",
    )
    add_runtime_options(parser)
    parser.add_argument(
        "--confidence-threshold",
        type=probability,
        default=None,
        metavar="SCORE",
        help="lowest score of an instance in the panoptic map (default: the model's)",
    )
    add_max_megapixels(parser)
    parser.add_argument(
        "--no-labels", action="store_true", help="draw colours and borders alone, without a legend"
    )
    add_label_options(parser)
    parser.add_argument(
        "--resume", action="store_true", help="leave out images whose results are in --output"
    )
    parser.add_argument(
        "--save-json",
        action="store_true",
        help="for each video a NAME_segments.jsonl with the segments of every frame",
    )
    add_config_options(parser, TRAINED)


def run(args: argparse.Namespace) -> int:
    """Predict every image and video.

    Returns:
        0; 1 when an input could not be read or none was found; 130 after Ctrl-C, which leaves the
        results of the images before it.
    """
    from effps_solo.inference.load import SAMPLE_IMAGE, load
    from effps_solo.inference.pseudo_labels import void_unsure
    from effps_solo.inference.result import write_file
    from effps_solo.inference.video import predict_video
    from effps_solo.inference.writer import JSON_NAME, PanopticWriter

    set_up_logging()
    default = [] if args.webcam is not None else [str(SAMPLE_IMAGE)]
    paths = find_inputs(args.input or default, IMAGE_SUFFIXES + VIDEO_SUFFIXES)
    if not paths and args.webcam is None:
        logger.error("no image found in %s", ", ".join(args.input))
        return 1
    folder, labels = Path(args.output), not args.no_labels
    make_writable(folder, "--output")
    model = load(
        args.config_file or args.model,
        backend=args.backend,
        threads=args.threads,
        precision=args.precision,
        confidence_threshold=args.confidence_threshold,
        max_megapixels=args.max_megapixels,
        overrides=args.opts,
        allow_unsafe=args.allow_unsafe,
    )
    if not args.resume and (folder / JSON_NAME).is_file():
        logger.warning(
            "%s is written anew, for these inputs alone; --resume keeps what it lists",
            folder / JSON_NAME,
        )
    finished = _finished_videos(folder) if args.resume else {}
    names = video_names(paths, finished)
    settings: Dict[str, Any] = {"folder": folder, "labels": labels, "save_json": args.save_json}
    if args.webcam is not None:
        predict_video(model, args.webcam, **settings)
    writer = PanopticWriter(
        folder,
        model.classes,
        resume=args.resume,
        label_writer=label_writer_of(args, folder, model.classes),
        labels=labels,
        legend=labels,
    )
    earlier = writer.done | set(finished)
    done = {path for path in paths if os.path.abspath(path) in earlier}
    left = [path for path in paths if path not in done]
    if len(left) < len(paths):
        logger.info("%d of %d images are done already", len(paths) - len(left), len(paths))

    def to_video(path: Path) -> int:
        frames = predict_video(model, path, name=names[path], **settings)
        finished[os.path.abspath(path)] = names[path]
        write_file(folder / _VIDEOS, json.dumps(finished, indent=1))
        return frames

    def predict(image: "np.ndarray") -> "PanopticResult":
        return void_unsure(model(image), args.unsure_void)

    return _process_all(left, predict, writer, to_video)


def video_names(paths: Sequence[Path], finished: Mapping[str, str]) -> Dict[Path, str]:
    """The name of the results of each video: its own, with a number where several have one name.

    Args:
        finished: absolute path -> name of those of earlier runs.
    """
    names: Dict[Path, str] = {}
    taken = set(finished.values())
    for path in filter(is_video, paths):
        count, name = 0, path.stem
        while name in taken:
            count += 1
            name = f"{path.stem}_{count}"
        names[path] = finished.get(os.path.abspath(path), name)
        taken.add(names[path])
    return names


def _finished_videos(folder: Path) -> Dict[str, str]:
    """Absolute path -> name of the videos whose results an earlier run left in ``folder``."""
    path = folder / _VIDEOS
    try:
        finished = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return {p: n for p, n in finished.items() if (folder / f"{n}_overlay.mp4").is_file()}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} cannot be read; remove it, or leave out --resume") from error


def is_video(path: Path) -> bool:
    """By the name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def set_up_logging() -> None:
    """Messages of this project as bare lines to the standard output, between progress bars."""
    root = logging.getLogger("effps_solo")
    root.setLevel(logging.INFO)
    if not root.handlers:
        root.addHandler(_TqdmHandler())


class _TqdmHandler(logging.Handler):
    """Writes above the progress bar instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


def _process_all(
    paths: Sequence[Path],
    predict: Predict,
    writer: "PanopticWriter",
    to_video: Callable[[Path], int],
) -> int:
    """The exit status; ``panoptic.json`` is written however it ends, unless there are videos alone."""
    failed: List[str] = []
    done = 0
    try:
        writer.add_earlier_labels()
        for path in tqdm(paths, unit="image", disable=len(paths) == 1):
            if not _process(path, predict, writer, to_video):
                failed.append(str(path))
            done += 1
    except KeyboardInterrupt:
        logger.error("stopped after %d of %d images", done, len(paths))
        return INTERRUPTED
    finally:
        if len(writer) or not all(is_video(path) for path in paths):
            writer.close()
        logger.info("results: %s", writer.folder)
    if failed:
        logger.error("%d of %d images failed: %s", len(failed), len(paths), ", ".join(failed))
    return 1 if failed else 0


def _process(
    path: Path, predict: Predict, writer: "PanopticWriter", to_video: Callable[[Path], int]
) -> bool:
    """Whether it could be done."""
    try:
        if is_video(path):
            logger.info("%s: %d frames", path, to_video(path))
            return True
        image = as_rgb(path)
    except UserError as error:
        logger.error("skipped: %s", error)
        return False
    try:
        result = predict(image)
    except UserError as error:  # an exported model is made for one shape
        logger.error("skipped: %s: %s", path, error)
        return False
    try:
        writer.add(path, result)
    except UserError as error:
        if getattr(error.__cause__, "errno", None) != errno.ENAMETOOLONG:
            raise  # no other image can be written either
        logger.error("skipped: %s", error)
        return False
    things = sum(segment.isthing for segment in result.segments)
    logger.info("%s: %d things, %d stuff regions", path, things, len(result.segments) - things)
    return True


def find_inputs(names: Sequence[str], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> List[Path]:
    """Files as given, the files of folders and the matches of patterns in alphabetical order, each once.

    Args:
        suffixes: of the files that count in folders.
    """
    paths: List[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            paths.extend(p for p in sorted(path.iterdir()) if p.suffix.lower() in suffixes)
        elif glob.has_magic(name) and not path.exists():
            paths.extend(Path(match) for match in sorted(glob.glob(name, recursive=True)))
        else:
            paths.append(path)
    return list({os.path.abspath(path): path for path in paths}.values())
