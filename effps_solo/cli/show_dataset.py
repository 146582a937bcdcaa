"""``effps-solo show-dataset``: ground truth and what the network sees of it, as a contact sheet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence

from effps_solo.utils.errors import UserError

from .arguments import add_config_options, positive
from .label_errors import errors_sheet

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from effps_solo.structures.label_space import PanopticLabelSpace
    from effps_solo.visualization.contact_sheet import View

COLUMNS = 3  # where each image has one view only
Record = Dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Config, which images, how many views."""
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="data sets and augmentation")
    add("--output", required=True, metavar="DIR", help="folder for one PNG for each data set")
    add("--num", type=positive, default=8, metavar="N", help="images (%(default)s)")
    add(
        "--views",
        type=int,
        default=2,
        metavar="N",
        help="augmented views of each training image (%(default)s)",
    )
    add("--seed", type=int, default=0, help="decides on images and augmentation (%(default)s)")
    add("--only", nargs="+", default=[], metavar="WORD", help="images with a WORD in their path")
    add("--tile-width", type=positive, default=512, metavar="N", help="pixels (%(default)s)")
    add(
        "--errors",
        action="store_true",
        help="compare the labels of all images with what the trained model of the config says, and draw "
        "the --num images in which most pixels differ; a CSV lists all",
    )
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Draw a sheet for every data set of ``DATASETS.TRAIN`` and ``TEST``.

    Returns:
        0; 1 when ``--errors`` had to leave out images, which are named.
    """
    from detectron2.data import DatasetCatalog
    from PIL import Image

    from effps_solo.config import load_config
    from effps_solo.data.datasets.registration import check_dataset_available
    from effps_solo.inference.load import load

    cfg = load_config(args.config_file, args.opts, allow_unsafe=args.allow_unsafe)
    names = list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))
    left_out = 0
    if args.errors:
        model = load(args.config_file, overrides=args.opts, allow_unsafe=args.allow_unsafe)
    for name in names:
        check_dataset_available(name)
        records = _allowed(DatasetCatalog.get(name), name, args)
        path = Path(args.output) / f"{name}.png"
        if args.errors:
            path = path.with_name(f"{name}_errors.png")
            sheet, failed = errors_sheet(model, name, records, path.with_suffix(".csv"), args)
            left_out += failed
        else:
            sheet = _sheet(cfg, name, _choose(records, args), args)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(sheet).save(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        print(path)
    return 1 if left_out else 0


def _allowed(records: Sequence[Record], name: str, args: argparse.Namespace) -> List[Record]:
    """Those that ``--only`` allows."""
    allowed = [
        record
        for record in records
        if not args.only or any(word in record["file_name"] for word in args.only)
    ]
    if not allowed:
        raise UserError(f"data set '{name}' has no image with {args.only or 'any name'}")
    return allowed


def _choose(allowed: Sequence[Record], args: argparse.Namespace) -> List[Record]:
    """``--num`` random records, in their order."""
    import numpy as np

    number = min(args.num, len(allowed))
    chosen = np.random.default_rng(args.seed).choice(len(allowed), number, replace=False)
    return [allowed[i] for i in sorted(chosen)]


def _sheet(cfg: "CfgNode", name: str, records: List[Record], args: argparse.Namespace) -> Any:
    from detectron2.data import MetadataCatalog
    from detectron2.utils.env import seed_all_rng

    from effps_solo.data.build import build_train_mapper
    from effps_solo.structures.classes import classes_from_metadata
    from effps_solo.structures.label_space import PanopticLabelSpace
    from effps_solo.visualization.contact_sheet import contact_sheet, view_of

    label_space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(name))

    def view(mapper: Callable[[Record], Record], record: Record, title: str) -> "View":
        is_bgr = cfg.INPUT.FORMAT == "BGR"
        return view_of(
            mapper(record), label_space, title=title, width=args.tile_width, is_bgr=is_bgr
        )

    plain = _plain_mapper(records[0], label_space, cfg.INPUT.FORMAT)
    augment = build_train_mapper(cfg, records)
    num_views = args.views if name in cfg.DATASETS.TRAIN else 0
    rows = []
    for number, record in enumerate(records):
        row = [view(plain, record, Path(record["file_name"]).name)]
        for k in range(num_views):
            seed_all_rng(args.seed + 1000 * number + k)
            row.append(view(augment, record, f"augmented {k + 1}"))
        rows.append(row)
    if num_views == 0:
        views = [row[0] for row in rows]
        rows = [views[i : i + COLUMNS] for i in range(0, len(views), COLUMNS)]
    return contact_sheet(rows, classes_from_metadata(MetadataCatalog.get(name)))


def _plain_mapper(
    record: Record, label_space: "PanopticLabelSpace", image_format: str
) -> Callable[[Record], Record]:
    """The training mapper without augmentation."""
    from detectron2.data import DatasetMapper

    from effps_solo.data.annotations_mapper import AnnotationsDatasetMapper
    from effps_solo.data.mapper import PanopticDatasetMapper

    settings: Dict[str, Any] = {"augmentations": [], "image_format": image_format}
    if "pan_seg_file_name" in record:
        return PanopticDatasetMapper(True, label_space=label_space, **settings)
    settings.update(use_instance_mask=True, instance_mask_format="bitmask")
    return AnnotationsDatasetMapper(DatasetMapper(True, **settings), label_space)
