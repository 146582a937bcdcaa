"""Training batches that depend on a seed and a position alone, however they are loaded.

The records that training takes form one endless stream; position counts them over all processes.
Neither the number of workers nor a restart changes which record comes at a position, or the random
numbers of its augmentation.
"""

import itertools
import logging
import os
import signal
import sys
import threading
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.data.build import trivial_batch_collator
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.utils import comm
from detectron2.utils.serialize import PicklableWrapper
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from effps_solo.utils.errors import UserError

from .seeding import seeded

logger = logging.getLogger(__name__)

UNUSABLE = "unusable"
_GRACE_SECONDS = 10.0
# SyntaxError is Pillow's for a broken PNG.
RECORD_ERRORS = (UserError, SizeMismatchError, OSError, SyntaxError)

Record = Dict[str, Any]


class UnusableImagesError(UserError):
    """Too many records of a data set cannot be read; the message lists them."""


class Sample(NamedTuple):
    """What stands at a position of the stream: a record, and the key of its random numbers."""

    record: int
    seed: int
    position: int


class SampleStream:
    """The batches of one process as lists of :class:`Sample`, endless, from a position on."""

    def __init__(
        self,
        make_sampler: Callable[[int], Iterable[int]],
        batch_size: int,
        seed: int,
        groups: Optional[Sequence[int]] = None,
    ) -> None:
        """
        Args:
            make_sampler: seed -> the record indices of this process, as Detectron2's samplers for
                training give them: every W-th of the stream of W processes.
            batch_size: of this process.
            seed: of the order and of the augmentation.
            groups: of every record; a batch holds records of one group. None: batches as they come.
        """
        self.make_sampler = make_sampler
        self.batch_size = batch_size
        self.seed = seed
        self.groups = groups
        self.position = 0

    @property
    def total_batch_size(self) -> int:
        """Records that all processes take in one step."""
        return self.batch_size * comm.get_world_size()

    def __iter__(self) -> Iterator[List[Sample]]:
        rank, num_ranks = comm.get_rank(), comm.get_world_size()
        samples = (
            Sample(index, self.seed, rank + num_ranks * i)
            for i, index in enumerate(self.make_sampler(self.seed))
        )
        if self.groups is None:
            behind = max(0, -(-(self.position - rank) // num_ranks))
            ahead = itertools.islice(samples, behind, None)
            while True:
                yield list(itertools.islice(ahead, self.batch_size))
        # Which records wait for others of their group depends on all that came before.
        batches = _grouped(samples, self.groups, self.batch_size)
        yield from itertools.islice(batches, self.position // self.total_batch_size, None)


def _grouped(
    samples: Iterable[Sample], groups: Sequence[int], batch_size: int
) -> Iterator[List[Sample]]:
    waiting: Dict[int, List[Sample]] = {}
    for sample in samples:
        batch = waiting.setdefault(groups[sample.record], [])
        batch.append(sample)
        if len(batch) == batch_size:
            yield waiting.pop(groups[sample.record])


class SampledRecords(Dataset):
    """The mapped records of a data set by :class:`Sample`.

    In the place of a record that cannot be read comes another, drawn with the sample's random numbers;
    it says under :data:`UNUSABLE` which it stands for. After more than ``max_unusable`` in a row, or
    when there is no other, that entry comes alone.
    """

    def __init__(
        self, records: List[Record], mapper: Callable[[Record], Record], max_unusable: int
    ) -> None:
        self.records = DatasetFromList(records, copy=False)
        self.mapper = PicklableWrapper(mapper)
        self.max_unusable = max_unusable

    def __getitem__(self, sample: Sample) -> Record:
        unusable: Dict[int, str] = {}
        index = sample.record
        with seeded(sample.seed, sample.position):
            while True:
                try:
                    mapped: Record = self.mapper(self.records[index])
                except RECORD_ERRORS as error:
                    unusable[index] = _reason(self.records[index], error)
                else:
                    return {**mapped, UNUSABLE: list(unusable.values())} if unusable else mapped
                if len(unusable) > min(self.max_unusable, len(self.records) - 1):
                    return {UNUSABLE: list(unusable.values())}
                while index in unusable:
                    index = int(np.random.randint(len(self.records)))


def _reason(record: Record, error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if record["file_name"] in text else f"{record['file_name']}: {text}"


def outlive_stop_signals(_: int = 0) -> None:
    """For a process that loads data: what stops a training reaches it, too, and the last step needs it.

    It ends by itself a little after SIGTERM, which also is what a process at its end sends to it; with
    status 0, since torch takes another one for a failure.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = lambda *_: threading.Timer(_GRACE_SECONDS, os._exit, (0,)).start()  # noqa: E731
    signal.signal(signal.SIGTERM, end)


class TrainLoader:
    """The endless batches of one process, each a list of mapped records.

    Its state is seed and position: the next batch is the same after a restart. Records that cannot
    be read are reported and counted.
    """

    def __init__(
        self, dataset: SampledRecords, stream: SampleStream, *, num_workers: int = 0
    ) -> None:
        """``num_workers`` are processes that load the records; 0: this one."""
        self.dataset = dataset
        self.stream = stream
        self.num_workers = num_workers
        self._unusable: List[str] = []

    @property
    def seed(self) -> int:
        """Of the stream; training takes its other random numbers from it as well."""
        return self.stream.seed

    def __iter__(self) -> Iterator[List[Record]]:
        """Raises UnusableImagesError when more records than the data set allows cannot be read."""
        batches = DataLoader(
            self.dataset,
            batch_sampler=self.stream,
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            worker_init_fn=outlive_stop_signals,
            generator=torch.Generator(),  # else it takes numbers from the global one
        )
        for batch in batches:
            self.stream.position += self.stream.total_batch_size
            for mapped in batch:
                self._count(mapped)
            yield batch

    def _count(self, mapped: Record) -> None:
        for reason in mapped.pop(UNUSABLE, []):
            if reason not in self._unusable:
                self._unusable.append(reason)
                logger.warning("An image is left out: %s", reason)
        limit = self.dataset.max_unusable
        if mapped and len(self._unusable) <= limit:
            return
        reasons = "; ".join(self._unusable)
        if limit == 0:
            raise UnusableImagesError(reasons)
        raise UnusableImagesError(
            f"{len(self._unusable)} images of the data set cannot be used; DATALOADER.MAX_UNUSABLE_IMAGES "
            f"is {limit}. Mend them, or take them out: {reasons}"
        )

    def state_dict(self) -> Dict[str, int]:
        """Seed, and position behind the last batch that was taken."""
        return {"seed": self.stream.seed, "position": self.stream.position}

    def load_state_dict(self, state: Dict[str, int]) -> None:
        """Go on where a loader was; before the first batch is taken."""
        self.stream.seed, self.stream.position = state["seed"], state["position"]


def shows_progress() -> bool:
    """Whether this process draws progress bars: the main one does, on a terminal."""
    return comm.is_main_process() and sys.stderr.isatty()


class ShownLoader:
    """A loader of images one by one, with a progress bar on stderr if :func:`shows_progress`."""

    def __init__(self, loader: DataLoader, title: str) -> None:
        self.loader, self.title = loader, title

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        disable = not shows_progress()
        return iter(tqdm(self.loader, self.title, unit="image", disable=disable))
