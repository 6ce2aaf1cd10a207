"""Many sessions at once: worker processes, never two of them under one station id."""

import multiprocessing
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait

from msgspec.structs import replace

from twin.cli.common import note
from twin.engine.replay.evidence import Result
from twin.io.replay_jobs import Job, failed, play

type Judge = Callable[[Result], Result]


def play_all(
    jobs: list[Job],
    workers: int,
    identities: tuple[str, ...] = (),
    passwords: Mapping[str, str] = {},
    judge: Judge = lambda result: result,
) -> list[Result]:
    """Every job's result, in the order of the jobs. ``identities``: a live station id for each worker, with
    its own password or none.

    Each is given to ``judge`` before it is told. After Ctrl-C the rest is said to be interrupted.
    """
    results: dict[int, Result] = {}
    try:
        if workers == 1 and not identities:
            for number, job in enumerate(jobs):
                results[number] = _told(number + 1, len(jobs), judge(play(job)))
        else:
            _in_processes(jobs, workers, identities, passwords, judge, results)
    except KeyboardInterrupt:
        note("interrupted: what was played is judged")
    return [
        results[number] if number in results else failed(job, "interrupted")
        for number, job in enumerate(jobs)
    ]


def _in_processes(
    jobs: list[Job],
    workers: int,
    identities: tuple[str, ...],
    passwords: Mapping[str, str],
    judge: Judge,
    results: dict[int, Result],
) -> None:
    waiting = list(enumerate(jobs))
    free = list(identities[:workers])
    running: dict[Future[Result], tuple[int, Job]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        while waiting or running:
            while len(running) < workers and (place := _next(waiting, running, free, identities)) is not None:
                number, job = waiting.pop(place)
                if identities:
                    name = free.pop()
                    job = replace(job, live_station=name, password=passwords.get(name, ""))
                try:
                    running[pool.submit(play, job)] = (number, job)
                except BrokenExecutor as error:  # a worker was killed: what is left is told, not lost
                    free += [job.live_station] if identities else []
                    lost = failed(job, f"not played: {error}")
                    results[number] = _told(len(results) + 1, len(jobs), lost)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                number, job = running.pop(future)
                if identities:
                    free.append(job.live_station)
                results[number] = _told(len(results) + 1, len(jobs), judge(_result(future, job)))


def _result(future: Future[Result], job: Job) -> Result:
    """A bug of ours in one session costs that session, not the night."""
    try:
        return future.result()
    except BrokenExecutor:
        return failed(job, "its worker process was killed")
    except Exception as error:
        return failed(job, f"internal error, please report it: {type(error).__name__}: {error}")


def _next(
    waiting: list[tuple[int, Job]],
    running: Mapping[Future[Result], tuple[int, Job]],
    free: list[str],
    identities: tuple[str, ...],
) -> int | None:
    """The place of the first job whose identity nobody uses just now."""
    if identities:
        return 0 if waiting and free else None
    busy = {job.live_station for _, job in running.values()}
    live = [job.target is not None for _, job in waiting]
    return next(
        (place for place, (_, job) in enumerate(waiting) if not live[place] or job.live_station not in busy),
        None,
    )


def _told(number: int, total: int, result: Result) -> Result:
    verdict = "ERROR" if result.error else "pass" if result.passed else "FAIL"
    if sys.stderr.isatty() or verdict != "pass":
        note(f"{number:>5}/{total} {verdict}  {result.capture}  {result.live_station}")
    return result
