"""One HTML file with everything in it: of a run, or of two runs side by side."""

import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from effps_solo.evaluation.boundary import boundary_scores
from effps_solo.evaluation.matching import ImageSegments
from effps_solo.evaluation.quality import GROUPS, TITLES, class_scores
from effps_solo.evaluation.record import PREDICTIONS_FOLDER, EvaluatedImage
from effps_solo.evaluation.verdicts import count_classes, total
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import ImageError, read_image
from effps_solo.utils.version import __version__

from .figures import svg_of_calibration, svg_of_training, svg_of_tuning
from .pictures import (
    VERDICTS,
    data_url,
    picture_of_prediction,
    picture_of_truth,
    picture_of_verdicts,
)
from .run import Run
from .statistics import (
    MISSED,
    NOTHING,
    SIZES,
    calibration,
    confusion,
    groups_of,
    image_pq,
    pq_differences,
    quality_by_size,
)

Context = Dict[str, Any]


def write_report(run: Run, path: Path, num_images: int) -> None:
    """
    Args:
        path: of the HTML file; its folder is created if need be.
        num_images: how many of the worst and how many of the best images to show.
    """
    images, classes = _segments(run), run.record.classes
    rows = _class_rows(images, classes)
    scored = [(image_pq(image.segments, classes), image) for image in run.record.images]
    known = sorted((s for s in scored if s[0] is not None), key=lambda s: (s[0], s[1].name))
    worst = known[:num_images]
    best = known[num_images:][::-1][:num_images]
    context = {
        "run": run,
        "summary": _summary(rows, run),
        "classes": rows,
        "sizes": quality_by_size(images, classes),
        "size_names": [f"{name}, {extent}" for name, extent, *_ in SIZES],
        "confusion": _confusion_table(images, classes),
        "calibration": _calibration([run]),
        "training": svg_of_training({run.name: run.history}),
        "tuning": svg_of_tuning(run.tuning) if run.tuning and run.tuning.curves else "",
        "verdicts": VERDICTS,
        "galleries": [
            ("Worst images", [_pictures([image], [run], [pq]) for pq, image in worst]),
            ("Best images", [_pictures([image], [run], [pq]) for pq, image in best]),
        ],
    }
    _render("report.html", path, context)


def write_comparison(first: Run, second: Run, path: Path, num_images: int) -> None:
    """
    Args:
        first, second: evaluated on the same images with the same classes.
        path: of the HTML file; its folder is created if need be.
        num_images: how many of the images that gained most, and lost most, to show.

    Raises:
        UserError: the runs differ in their classes or images.
    """
    _require_alike(first, second)
    runs, classes = [first, second], first.record.classes
    by_id = {image.image_id: image for image in second.record.images}
    pairs = [(image, by_id[image.image_id]) for image in first.record.images]
    groups, by_class = pq_differences(_segments(first), [b.segments for _, b in pairs], classes)
    changes = []
    for pair in pairs:
        before, after = (image_pq(image.segments, classes) for image in pair)
        if before is not None and after is not None:
            changes.append((after - before, pair, (before, after)))
    changes.sort(key=lambda change: (change[0], change[1][0].name))
    lost = [change for change in changes[:num_images] if change[0] < 0]
    gained = [change for change in changes[::-1][:num_images] if change[0] > 0]
    rows = [_class_rows(_segments(run), classes) for run in runs]
    context = {
        "runs": runs,
        "summaries": list(map(_summary, rows, runs)),
        "rows": list(zip(*rows, [*groups, *(by_class[c.dataset_id] for c in classes)])),
        "sizes": [quality_by_size(_segments(run), classes) for run in runs],
        "size_names": [f"{name}, {extent}" for name, extent, *_ in SIZES],
        "calibration": _calibration(runs),
        "training": svg_of_training({run.name: run.history for run in runs}),
        "galleries": [
            ("Images that lost most", [_pictures(pair, runs, pqs) for _, pair, pqs in lost]),
            ("Images that gained most", [_pictures(pair, runs, pqs) for _, pair, pqs in gained]),
        ],
    }
    _render("comparison.html", path, context)


def _require_alike(first: Run, second: Run) -> None:
    classes = [
        [(c.dataset_id, c.name, c.isthing) for c in r.record.classes] for r in (first, second)
    ]
    if classes[0] != classes[1]:
        raise UserError(f"'{first.name}' and '{second.name}' differ in their classes")
    images = [{image.image_id for image in run.record.images} for run in (first, second)]
    if images[0] != images[1]:
        odd = sorted(map(str, images[0] ^ images[1]))
        raise UserError(
            f"'{first.name}' ({first.record.data_set}) and '{second.name}' "
            f"({second.record.data_set}) were not evaluated on the same images; {len(odd)} are only "
            f"in one of them, such as {odd[0]}"
        )


def _segments(run: Run) -> List[ImageSegments]:
    return [image.segments for image in run.record.images]


def _summary(rows: Sequence[Context], run: Run) -> Dict[str, float]:
    """Title -> percent of what people compare first."""
    values = dict(zip(("PQ", "PQ things", "PQ stuff"), (row["pq"] for row in rows)))
    values.update(
        {TITLES[key]: rows[0][key] for key in ("sq", "rq", "boundary_pq", "boundary_iou")}
    )
    for title, task, key in (("mIoU", "sem_seg", "mIoU"), ("mask AP", "segm", "AP")):
        if key in run.results.get(task, {}):
            values[title] = run.results[task][key]
    return values


def _class_rows(images: Sequence[ImageSegments], classes: Sequence[PanopticClass]) -> List[Context]:
    """The three groups, then every class."""
    counts, borders = count_classes(images, classes), boundary_scores(images, classes)
    rows: List[Context] = []
    for (title, _, isthing), scores in zip(GROUPS, groups_of(counts, classes, borders)):
        members = total(counts[c.dataset_id] for c in classes if isthing in (None, c.isthing))
        rows.append({"name": title, "color": None, **scores, **vars(members)})
    for c in classes:
        color, of_class = "#{:02x}{:02x}{:02x}".format(*c.color), counts[c.dataset_id]
        scores = {**class_scores(of_class), **borders[c.dataset_id]}
        rows.append({"name": c.name, "color": color, **scores, **vars(of_class)})
    return rows


def _confusion_table(images: Sequence[ImageSegments], classes: Sequence[PanopticClass]) -> Context:
    """Rows of (true class, cells); a cell is (count, share of its row in [0, 1], is right)."""
    table = confusion(images, classes)
    present = [c.name for c in classes if any(c.name in key for key in table)]
    columns = [*present, MISSED]
    rows = []
    for name in [*present, NOTHING]:
        counts = [table[name, column] for column in columns]
        in_row = max(sum(counts), 1)
        cells = [(n, n / in_row, column == name) for n, column in zip(counts, columns)]
        rows.append((name, cells))
    return {"columns": columns, "rows": rows}


def _calibration(runs: Sequence[Run]) -> Context:
    """A plot, and (kind, run, expected calibration error, bins) of every curve."""
    curves: Dict[str, Dict[str, Any]] = {}
    errors = []
    for kind, isthing in (("things", True), ("stuff", False)):
        for run in runs:
            bins, error = calibration(_segments(run), run.record.classes, isthing)
            if bins:
                curves.setdefault(kind, {})[run.name] = bins
                errors.append((kind, run.name, error, bins))
    return {"svg": svg_of_calibration(curves) if curves else "", "errors": errors}


def _pictures(
    images: Sequence[EvaluatedImage], runs: Sequence[Run], qualities: Sequence[Optional[float]]
) -> Context:
    """An image as each run evaluated it, and its ground truth; instead, why they cannot be shown."""
    head = {"name": images[0].name, "qualities": qualities, "pictures": [], "problem": ""}
    try:
        return {**head, "pictures": _titled_pictures(images, runs)}
    except ImageError as error:
        return {**head, "problem": str(error)}


def _titled_pictures(
    images: Sequence[EvaluatedImage], runs: Sequence[Run]
) -> List[Tuple[str, str]]:
    is_alone, classes = len(runs) == 1, runs[0].record.classes
    pixels = read_image(images[0].image_file, "RGB")
    found = [("image", pixels)] if is_alone else []
    found.append(("ground truth", picture_of_truth(pixels, images[0], classes)))
    for run, image in zip(runs, images):
        title, folder = "prediction" if is_alone else run.name, run.folder / PREDICTIONS_FOLDER
        found.append((title, picture_of_prediction(pixels, image, folder, classes)))
    if is_alone:
        found.append(("verdicts", picture_of_verdicts(pixels, images[0], folder)))
    return [(title, data_url(picture)) for title, picture in found]


def _render(template: str, path: Path, context: Mapping[str, Any]) -> None:
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(zip=zip, number=_number, signed=lambda x: _number(x, "+"))
    text = environment.get_template(template).render(version=__version__, **context)
    write_atomically(path, text.encode())


def _number(value: Optional[float], sign: str = "") -> str:
    return "–" if value is None or math.isnan(value) else f"{value:{sign}.1f}"
