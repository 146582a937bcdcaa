"""The training loader: what comes when, and what becomes of damaged records."""

import itertools
import logging
import multiprocessing
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence

import numpy as np
import pytest
import torch
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm

from effps_solo.data.loader import (
    SampledRecords,
    SampleStream,
    ShownLoader,
    TrainLoader,
    UnusableImagesError,
    outlive_stop_signals,
)
from effps_solo.utils.image_io import ImageError

RECORDS = [{"file_name": f"{i}.png", "number": i} for i in range(7)]


def random_mapper(record: Dict[str, Any]) -> Dict[str, Any]:
    """The record with a number of numpy's and one of torch's generator."""
    return {**record, "drawn": (float(np.random.uniform()), float(torch.rand(())))}


def damaged(*numbers: int) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
    """A mapper that cannot read the records with these numbers."""

    def mapper(record: Dict[str, Any]) -> Dict[str, Any]:
        if record["number"] in numbers:
            raise ImageError(f"{record['file_name']} cannot be read as an image (broken)")
        return random_mapper(record)

    return mapper


def make_loader(
    batch_size: int = 2,
    mapper: Callable[[Dict[str, Any]], Dict[str, Any]] = random_mapper,
    workers: int = 0,
    limit: int = 10,
    groups: Optional[Sequence[int]] = None,
    seed: int = 3,
) -> TrainLoader:
    def sampler(seed: int) -> Iterable[int]:
        return TrainingSampler(len(RECORDS), seed=seed)

    stream = SampleStream(sampler, batch_size, seed, groups)
    return TrainLoader(SampledRecords(RECORDS, mapper, limit), stream, num_workers=workers)


def take(loader: TrainLoader, count: int) -> List[List[Dict[str, Any]]]:
    return list(itertools.islice(loader, count))


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """``ranks(rank, count)``: be one of several processes."""

    def become(rank: int, count: int) -> None:
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: count)

    return become


def test_epochs_are_permutations() -> None:
    numbers = [x["number"] for batch in take(make_loader(), 14) for x in batch]
    for start in range(0, 28, 7):
        assert sorted(numbers[start : start + 7]) == list(range(7))
    assert numbers[:7] != numbers[7:14]
    drawn = [x["drawn"] for batch in take(make_loader(), 14) for x in batch]
    assert len(set(drawn)) == 28


def test_workers_and_what_ran_before_change_nothing() -> None:
    expected = take(make_loader(), 6)
    np.random.uniform()
    before = torch.get_rng_state()
    assert take(make_loader(workers=2), 6) == expected
    assert torch.equal(torch.get_rng_state(), before)
    assert take(make_loader(seed=4), 6) != expected


@pytest.mark.parametrize("groups", [None, [0, 1, 1, 0, 1, 1, 1]])
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_it_goes_on_where_another_one_was(taken: int, groups: Optional[List[int]]) -> None:
    expected = take(make_loader(groups=groups), 9)
    first = make_loader(groups=groups)
    batches = iter(first)
    assert [next(batches) for _ in range(taken)] == expected[:taken]
    state = first.state_dict()
    assert state == {"seed": 3, "position": 2 * taken}
    second = make_loader(groups=groups, seed=99)
    second.load_state_dict(state)
    assert take(second, 9 - taken) == expected[taken:] and second.seed == 3


def test_two_processes_share_the_stream_of_one(ranks: Callable[[int, int], None]) -> None:
    alone = take(make_loader(batch_size=4), 6)
    shares = []
    for rank in (0, 1):
        ranks(rank, 2)
        loader = make_loader(batch_size=2)
        loader.load_state_dict({"seed": 3, "position": 4})
        shares.append(take(loader, 5))
        assert loader.state_dict()["position"] == 24
    for whole, first, second in zip(alone[1:], *shares):
        assert whole == [first[0], second[0], first[1], second[1]]


def test_a_position_that_the_processes_do_not_divide(ranks: Callable[[int, int], None]) -> None:
    """As after a run with another number of processes: no record is lost or comes twice."""
    expected = [x["number"] for batch in take(make_loader(batch_size=1), 25) for x in batch]
    seen: Dict[int, List[int]] = {}
    for rank in range(3):
        ranks(rank, 3)
        loader = make_loader(batch_size=2)
        loader.load_state_dict({"seed": 3, "position": 7})
        seen[rank] = [x["number"] for batch in take(loader, 3) for x in batch]
    # Positions 7, 8, 9, ... belong to ranks 1, 2, 0, ...
    merged = [number for triple in zip(seen[1], seen[2], seen[0]) for number in triple]
    assert merged == expected[7:25]


def test_batches_of_one_group() -> None:
    groups = [0, 1, 1, 0, 1, 1, 1]
    for batch in take(make_loader(groups=groups, batch_size=3), 12):
        assert len(batch) == 3 and len({groups[x["number"]] for x in batch}) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_others_take_the_place_of_damaged_records(
    workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    loader = make_loader(mapper=damaged(2, 5), workers=workers, limit=2)
    with caplog.at_level(logging.WARNING):
        batches = take(loader, 14)
    numbers = [x["number"] for batch in batches for x in batch]
    assert len(numbers) == 28 and not {2, 5} & set(numbers)
    assert all(set(x) == {"file_name", "number", "drawn"} for batch in batches for x in batch)
    # Each is told once. The others come as they would have come anyway.
    own = [r for r in caplog.records if r.name == "effps_solo.data.loader"]
    told = sorted(record.getMessage() for record in own)
    assert [("2.png" in text, "5.png" in text) for text in told] == [(True, False), (False, True)]
    whole = [x for batch in take(make_loader(), 14) for x in batch]
    for x, original in zip(itertools.chain(*batches), whole):
        assert original["number"] in (2, 5) or x == original
    again = take(make_loader(mapper=damaged(2, 5), limit=2), 14)
    assert again == batches


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_damaged_records_end_it_with_their_list(workers: int) -> None:
    with pytest.raises(UnusableImagesError) as info:
        take(make_loader(mapper=damaged(0, 2, 5), workers=workers, limit=2), 14)
    text = str(info.value)
    assert "3 images" in text and "DATALOADER.MAX_UNUSABLE_IMAGES is 2" in text
    assert all(f"{number}.png cannot be read" in text for number in (0, 2, 5))


@pytest.mark.parametrize("limit", [0, 3, 10])
def test_nothing_but_damaged_records(limit: int) -> None:
    with pytest.raises(UnusableImagesError, match=r"\d.png cannot be read"):
        take(make_loader(mapper=damaged(*range(7)), limit=limit), 1)


def test_without_a_limit_the_message_is_that_of_the_file() -> None:
    with pytest.raises(UnusableImagesError, match="^4.png cannot be read as an image .broken.$"):
        take(make_loader(mapper=damaged(4), limit=0), 7)


def test_a_bug_is_no_damaged_record() -> None:
    def mapper(record: Dict[str, Any]) -> Dict[str, Any]:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        take(make_loader(mapper=mapper), 1)


def test_errors_of_the_system_name_the_file() -> None:
    def mapper(record: Dict[str, Any]) -> Dict[str, Any]:
        raise OSError("broken pipe")

    with pytest.raises(UnusableImagesError, match=r"\d.png: broken pipe"):
        take(make_loader(mapper=mapper, limit=0), 1)


def test_one_record() -> None:
    def sampler(seed: int) -> Iterator[int]:
        return itertools.repeat(0)

    dataset = SampledRecords(RECORDS[:1], random_mapper, 10)
    loader = TrainLoader(dataset, SampleStream(sampler, 3, seed=0))
    batch = take(loader, 1)[0]
    assert len({x["drawn"] for x in batch}) == 3  # the same image, augmented in three ways


def _load(ready: Any) -> None:
    outlive_stop_signals()
    ready.set()
    time.sleep(300)


@pytest.mark.parametrize("method, grace", [("fork", 1.0), ("spawn", 10.0)])
def test_a_process_that_loads_data_outlives_what_stops_a_training(
    method: str, grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever threads it has; in the end it has not failed."""
    monkeypatch.setattr("effps_solo.data.loader._GRACE_SECONDS", grace)  # seen by a fork alone
    context = multiprocessing.get_context(method)
    ready = context.Event()
    worker = context.Process(target=_load, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(60)
    for name in ("INT", "TERM", "INT"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    worker.join(0.2)
    assert worker.is_alive()
    worker.join(60)
    assert worker.exitcode == 0


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_progress_bar_is_for_the_terminal_of_the_main_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, is_terminal: bool, rank: int
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(comm, "get_rank", lambda: rank)
    for numbers in ([], [5, 6, 7]):
        loader = ShownLoader(torch.utils.data.DataLoader(numbers, batch_size=None), "my_val")
        assert len(loader) == len(numbers)
        assert capsys.readouterr().err == ""  # before it is used
        for _ in range(2):
            assert list(loader) == numbers
            shown = capsys.readouterr().err
            if is_terminal and rank == 0:
                assert (
                    "my_val" in shown and f"{len(numbers)}/{len(numbers)}" in shown or not numbers
                )
            else:
                assert shown == ""
