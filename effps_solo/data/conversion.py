"""Conversion of whole data sets: several processes, resumable, nothing half done.

A journal holds one line for every finished job. A run that was stopped goes on behind the last of
them; a run over changed files does only what changed. Imports nothing heavy, for the sake of the
worker processes.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from tqdm import tqdm

from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError

_CHUNK = 4  # jobs that a worker takes at once
_NUM_EXAMPLES = 5

Convert = Callable[[Any, Path], Any]


class ConversionError(UserError):
    """Some jobs failed, the message names the first of them; or a worker process died."""


@dataclass(frozen=True)
class Job:
    """One file to make.

    Attributes:
        output: its path below the folder of the journal, unique among the jobs.
        sources: the files that it is made from; the job is done anew when one of them changes.
        task: the first argument of the conversion; can be pickled.
    """

    output: str
    sources: Tuple[str, ...]
    task: Any

    def stamp(self, settings: str) -> str:
        """A digest of all that decides on the result."""
        states = [os.stat(path) for path in self.sources if os.path.exists(path)]
        parts = [settings, repr(self.task), *self.sources]
        parts += [f"{state.st_mtime_ns}:{state.st_size}" for state in states]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def convert_all(
    convert: Convert,
    jobs: Sequence[Job],
    *,
    journal: Path,
    settings: str,
    num_workers: int,
    title: str,
) -> List[Any]:
    """Do all jobs that the journal does not list as done.

    Args:
        convert: (task, path) -> result as JSON has it; a function of a module, which writes the
            file with :func:`write_atomically`.
        journal: only one run at a time may use it. Files below its folder that it lists and no
            job makes any more are removed.
        settings: all other options that change the results; with another text every job is done anew.
        num_workers: processes; 1 works in this one.

    Returns:
        the results in the order of the jobs.

    Raises:
        ConversionError: ``convert`` raised a UserError for some jobs, or a process died. The other
            jobs are done and stay so.
    """
    folder = journal.parent
    stamps = {job.output: job.stamp(settings) for job in jobs}
    known = _read_journal(journal)
    for output in set(known) - set(stamps):
        (folder / output).unlink(missing_ok=True)
    done = {
        output: known[output]
        for output, stamp in stamps.items()
        if known.get(output, {}).get("stamp") == stamp and (folder / output).is_file()
    }
    write_atomically(journal, "".join(map(_line, done.values())).encode())
    todo = [job for job in jobs if job.output not in done]
    failures: List[str] = []
    with open(journal, "a", encoding="utf-8") as file:
        attempt = partial(_attempt, convert, folder)
        outcomes = map_in_processes(attempt, todo, num_workers=num_workers, title=title)
        for job, (result, failure) in zip(todo, outcomes):
            if failure is not None:
                failures.append(failure)
                continue
            entry = {"output": job.output, "stamp": stamps[job.output], "result": result}
            done[job.output] = entry
            file.write(_line(entry))
            file.flush()
    if failures:
        shown = "\n  ".join(failures[:_NUM_EXAMPLES])
        more = f"\n  and {len(failures) - _NUM_EXAMPLES} more" * (len(failures) > _NUM_EXAMPLES)
        raise ConversionError(
            f"{len(failures)} of {len(jobs)} images failed; mend them and run it again:\n  {shown}{more}"
        )
    return [done[job.output]["result"] for job in jobs]


def _line(entry: Dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _read_journal(path: Path) -> Dict[str, Dict[str, Any]]:
    """Output -> its last entry; a line that was cut off is none."""
    entries: Dict[str, Dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with suppress(ValueError, TypeError, KeyError):
            entry = json.loads(line)
            entries[entry["output"]] = entry
    return entries


def map_in_processes(
    work: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    num_workers: int,
    title: str,
    show_progress: bool = True,
) -> Iterator[Any]:
    """``work`` of every item, in their order, under a progress bar on stderr.

    Args:
        work: a function of a module; items and results can be pickled.
        num_workers: processes; 1 works in this one.

    Raises:
        ConversionError: a process died.
    """
    bar = partial(tqdm, total=len(items), desc=title, unit="image", disable=not show_progress)
    num_workers = min(num_workers, len(items))
    if num_workers <= 1:
        yield from bar(map(work, items))
        return
    # Forked copies of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _follow_the_parent) as pool:
        try:
            yield from bar(pool.map(work, items, chunksize=_CHUNK))
        except BrokenProcessPool as error:
            raise ConversionError(
                "a worker process died, perhaps for lack of memory; run it again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _follow_the_parent() -> None:
    """Leave interrupts to the parent, but do not wait for jobs from one that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _attempt(convert: Convert, folder: Path, job: Job) -> Tuple[Any, Optional[str]]:
    """The result, or the message of the error."""
    try:
        return convert(job.task, folder / job.output), None
    except UserError as error:
        return None, str(error)
