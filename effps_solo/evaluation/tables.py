"""The scores of semantic and instance segmentation as tables; that of PQ is :mod:`.panoptic`'s."""

import logging
from typing import Any, Dict, List, Mapping, Sequence

from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from tabulate import tabulate

logger = logging.getLogger(__name__)

_TITLES = {"sem_seg": "Mean IoU", "segm": "Mask AP"}


class TabulatedEvaluators(DatasetEvaluators):
    """Evaluators whose "sem_seg" and "segm" are also logged, as one table each."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator], dataset_name: str) -> None:
        super().__init__(list(evaluators))
        self._dataset_name = dataset_name

    def evaluate(self) -> Dict[str, Any]:
        results: Dict[str, Any] = super().evaluate()
        for task, title in _TITLES.items():
            if task in results:
                table = score_table(results[task])
                logger.info("%s on %s, in percent:\n%s", title, self._dataset_name, table)
        return results


def score_table(scores: Mapping[str, float]) -> str:
    """The scores of a task: a row for all classes, and one for each class.

    Args:
        scores: in percent, with the names that Detectron2's evaluators give them: "IoU-car" is of a class,
            "mIoU" the mean of the column "IoU", "AP" that of "AP", what else has no "-" has a column of
            its own.
    """
    of_class: Dict[str, Dict[str, float]] = {}
    overall: Dict[str, float] = {}
    for key, score in scores.items():
        measure, _, name = key.partition("-")
        if name:
            of_class.setdefault(name, {})[measure] = score
        else:
            overall[measure] = score
    columns: List[str] = list(dict.fromkeys(m for row in of_class.values() for m in row))
    means: Dict[str, Any] = {}
    for measure in columns:
        same = overall.pop(measure, None)  # Cityscapes' "IoU" is its "mIoU"
        means[measure] = overall.pop(f"m{measure}", same)
    columns += overall
    rows = [("All", {**means, **overall}), *of_class.items()]
    cells = [[name, *(row.get(measure) for measure in columns)] for name, row in rows]
    return str(tabulate(cells, ["", *columns], floatfmt=".2f"))
