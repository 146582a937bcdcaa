"""``effps-solo show-dataset --errors``: the images in which label and model differ most."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Tuple

from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import ImageError

if TYPE_CHECKING:
    import numpy as np

    from effps_solo.inference.load import PanopticModel
    from effps_solo.report.disagreement import Disagreement
    from effps_solo.visualization.contact_sheet import View

Record = Dict[str, Any]


def errors_sheet(
    model: "PanopticModel",
    name: str,
    records: Sequence[Record],
    csv_path: Path,
    args: argparse.Namespace,
) -> Tuple["np.ndarray", int]:
    """Print the worst images of a data set, and list all in a CSV.

    Args:
        model: trained on the classes of the data set.
        name: of the data set.
        records: of Detectron2's catalog, with panoptic PNGs.
        csv_path: its folder is created if need be.
        args: of ``show-dataset``.

    Returns:
        the contact sheet, label and prediction side by side, and how many images were left out.

    Raises:
        UserError: there are no panoptic PNGs, or the CSV cannot be written.
    """
    from tqdm import tqdm

    from effps_solo.inference.result import write_file
    from effps_solo.report.disagreement import as_csv, worst_first
    from effps_solo.visualization.contact_sheet import contact_sheet

    if "pan_seg_file_name" not in records[0]:
        raise UserError(f"data set '{name}' has no panoptic PNGs, which --errors compares")
    found: List["Disagreement"] = []
    for record in tqdm(records, desc=name, unit="image"):
        try:
            found.append(_compare(model, record))
        except ImageError as error:
            tqdm.write(f"left out: {error}", file=sys.stderr)
    ranked = worst_first(found)
    write_file(csv_path, as_csv(ranked).encode(errors="surrogateescape"))
    print(_as_text(name, ranked[: args.num]))
    record_of = {record["file_name"]: record for record in records}
    rows = [_views(model, record_of[one.file_name], one, args) for one in ranked[: args.num]]
    return contact_sheet(rows, model.classes), len(records) - len(found)


def _label(record: Record, shape: Tuple[int, ...]) -> "np.ndarray":
    """(H, W) segment ids. Raises ImageError unless they have the shape of the image."""
    from effps_solo.structures.panoptic_png import read_segment_ids

    ids = read_segment_ids(record["pan_seg_file_name"])
    if ids.shape != shape:
        raise ImageError(
            f"{record['pan_seg_file_name']} has {ids.shape[1]}x{ids.shape[0]} pixels, its image "
            f"{shape[1]}x{shape[0]}; check-dataset finds all of these"
        )
    return ids


def _compare(model: "PanopticModel", record: Record) -> "Disagreement":
    from effps_solo.report.disagreement import compare

    result = model(record["file_name"])
    ids = _label(record, result.panoptic.shape)
    return compare(record["file_name"], ids, record["segments_info"], result)


def _as_text(name: str, worst: Sequence["Disagreement"]) -> str:
    lines = [f"{name}: pixels with another class in the prediction, segments missed, false"]
    for one in worst:
        most = f"  {one.labelled} -> {one.predicted}" if one.labelled else ""
        share = "  void" if math.isnan(one.differing) else f"{one.differing:5.1f}%"
        lines.append(f"  {share} {one.missed:4} {one.false:4}  {one.file_name}{most}")
    return "\n".join(lines)


def _views(
    model: "PanopticModel", record: Record, one: "Disagreement", args: argparse.Namespace
) -> List["View"]:
    """Label, prediction, and what of the prediction differs."""
    import numpy as np

    from effps_solo.report.disagreement import differing_pixels
    from effps_solo.visualization.panoptic_view import view_of_segments

    result = model(record["file_name"])
    ids = _label(record, result.panoptic.shape)
    info = [
        {**segment, "isthing": result.classes[segment["category_id"]].isthing}
        for segment in record["segments_info"]
    ]
    predicted = [vars(segment) for segment in result.segments]
    differing = np.where(differing_pixels(ids, info, result), result.panoptic, 0)
    name = Path(record["file_name"]).name
    return [
        view_of_segments(result.image, each, segments, caption=caption, width=args.tile_width)
        for each, segments, caption in (
            (ids, info, f"{name}: label"),
            (result.panoptic, predicted, "prediction"),
            (
                differing,
                predicted,
                f"prediction where it differs, {one.differing:.1f}% of the pixels",
            ),
        )
    ]
