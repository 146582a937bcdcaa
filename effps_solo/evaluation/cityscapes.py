"""mIoU and AP of data sets in the layout of Cityscapes, by cityscapesscripts.

Detectron2's evaluators drive the scripts. Here they run on current numpy and write into the output
folder alone.
"""

import contextlib
import glob
import importlib
import io
import logging
import os
import tempfile
from abc import ABC, abstractmethod
from types import ModuleType, SimpleNamespace
from typing import Any, Collection, ContextManager, Dict, Iterator, List, Optional
from unittest import mock

import numpy as np
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    cityscapes_evaluation,
)
from detectron2.evaluation.cityscapes_evaluation import CityscapesEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)

_SCRIPTS = "cityscapesscripts.evaluation"
_IMAGE_END = "_leftImg8bit.png"
Results = Dict[str, Dict[str, float]]


class _QuietCityscapesEvaluator(CityscapesEvaluator, ABC):
    """What both evaluators have in common; goes before Detectron2's class in the bases."""

    script: str
    task: str

    def __init__(
        self, dataset_name: str, output_dir: str, image_files: Optional[Collection[str]] = None
    ) -> None:
        """
        Args:
            dataset_name: of a data set with ``gt_dir``, <root>/gtFine/<split>.
            output_dir: temporary files go there.
            image_files: those to judge; None: all of the data set.
        """
        super().__init__(dataset_name)
        self._image_files = image_files
        self._output_dir = output_dir
        self._import_error: Optional[ImportError] = None

    def reset(self) -> None:
        """Start anew in a temporary folder inside the output folder, the same one on all ranks."""
        os.makedirs(self._output_dir, exist_ok=True)
        self._import_error = None
        self._working_dir = tempfile.TemporaryDirectory(
            prefix=f"cityscapes_{self.task}_", dir=self._output_dir
        )
        self._temp_dir = comm.all_gather(self._working_dir.name)[0]
        if self._temp_dir != self._working_dir.name:
            self._working_dir.cleanup()

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """Write the predictions as the scripts want them."""
        if self._import_error is not None:
            return
        try:
            super().process(inputs, outputs)
        except ImportError as error:
            self._import_error = error

    def evaluate(self) -> Optional[Results]:
        """
        Returns:
            on the main process a dict with the key ``task``, in percent; None elsewhere, and
            everywhere, with a warning, where Detectron2's evaluator cannot import the scripts.

        Raises:
            RuntimeError: the scripts failed; holds their output.
        """
        said = io.StringIO()
        try:
            if any(comm.all_gather(self._import_error is not None)):
                raise self._import_error or ImportError("on another process")
            root = os.path.dirname(os.path.dirname(os.path.normpath(self._metadata.gt_dir)))
            with mock.patch.dict(os.environ, CITYSCAPES_DATASET=root):  # read by the import
                script = importlib.import_module(f"{_SCRIPTS}.{self.script}")
            with contextlib.redirect_stdout(said), _tamed(script) as raw, self._ground_truth():
                result: Optional[Results] = super().evaluate()
        except ImportError as error:
            logger.warning(
                "No '%s': Detectron2 cannot use cityscapesscripts (%s)", self.task, error
            )
            return None
        except SystemExit as error:
            raise RuntimeError(
                f"cityscapesscripts failed on {self._metadata.gt_dir}: {said.getvalue().strip()}"
            ) from error
        if result is None:
            return None
        scores = {**result[self.task], **self._class_scores(raw[-1])}
        return {self.task: {key: float(value) for key, value in scores.items()}}

    def _ground_truth(self) -> ContextManager[Any]:
        """Within the context Detectron2's evaluator finds that of the wanted images only."""
        if self._image_files is None:
            return contextlib.nullcontext()
        wanted = {os.path.basename(f).removesuffix(_IMAGE_END) for f in self._image_files}

        def find(pattern: str) -> List[str]:
            files = glob.glob(pattern)
            return [f for f in files if os.path.basename(f).split("_gtFine_")[0] in wanted]

        return mock.patch.object(cityscapes_evaluation, "glob", SimpleNamespace(glob=find))

    @abstractmethod
    def _class_scores(self, raw: Dict[str, Any]) -> Dict[str, float]:
        """The score of every class in percent, nan where there is none, from the script's result."""


class CityscapesSemanticEvaluator(_QuietCityscapesEvaluator, CityscapesSemSegEvaluator):
    """mIoU: {"sem_seg": {"mIoU", "IoU" (the same), "iIoU", "IoU_sup", "iIoU_sup", IoU-<class>}}."""

    script = "evalPixelLevelSemanticLabeling"
    task = "sem_seg"

    def evaluate(self) -> Optional[Results]:
        result = super().evaluate()
        if result is not None:
            scores = result[self.task]
            result[self.task] = {"mIoU": scores["IoU"], **scores}
        return result

    def _class_scores(self, raw: Dict[str, Any]) -> Dict[str, float]:
        names = self._metadata.stuff_classes
        return {f"IoU-{name}": 100 * raw["classScores"][name] for name in names}


class CityscapesMaskEvaluator(_QuietCityscapesEvaluator, CityscapesInstanceEvaluator):
    """Mask AP: {"segm": {"AP", "AP50", AP-<class>}}; objects below 100 pixels do not count."""

    script = "evalInstanceLevelSemanticLabeling"
    task = "segm"

    def _class_scores(self, raw: Dict[str, Any]) -> Dict[str, float]:
        classes = raw["averages"]["classes"].items()
        return {f"AP-{name}": 100 * scores["ap"] for name, scores in classes}


class _NumpyWithIn1d:
    """numpy with the function that the AP script needs and numpy 2.4 has no more."""

    def __getattr__(self, name: str) -> Any:
        return np.isin if name == "in1d" else getattr(np, name)


@contextlib.contextmanager
def _tamed(script: ModuleType) -> Iterator[List[Dict[str, Any]]]:
    """Within the context a script is quiet, finds ``in1d``, and writes no JSON.

    Its JSON files are a copy of its results in the current folder and a cache that would not
    notice changed ground truth; either fails on numpy's integers. Yields a list that gets all of
    its results, of which Detectron2 passes on the averages.
    """
    raw: List[Dict[str, Any]] = []
    evaluate = script.evaluateImgLists

    def evaluate_and_keep(*args: Any) -> Dict[str, Any]:
        raw.append(evaluate(*args))
        return raw[-1]

    with (
        mock.patch.object(script.args, "quiet", True),
        mock.patch.object(script, "np", _NumpyWithIn1d()),
        mock.patch.object(script, "writeDict2JSON"),
        mock.patch.object(script, "evaluateImgLists", evaluate_and_keep),
    ):
        yield raw
