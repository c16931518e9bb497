"""Independent training runs on a local Dask cluster: worker processes, each with one run at a time."""

from collections.abc import Iterator

from distributed import Client, LocalCluster, as_completed

from kitsnb.execute import Failure, timed_execute
from kitsnb.jobs import Job


def run_parallel(jobs: list[Job], workers: int) -> Iterator[tuple[Job, Failure | None, float]]:
    """Execute ``jobs``, ``workers`` at a time, and yield each with its failure (or None) and seconds as it ends.

    A kernel is a process of its own, so memory and a dead kernel end with the run. A worker that dies is replaced, and its
    run is tried once more, from the last checkpoint.
    """
    threads = 1 if workers > 1 else None
    cluster = LocalCluster(n_workers=min(workers, len(jobs)), threads_per_worker=1, processes=True, memory_limit=0,
                           dashboard_address=":0", silence_logs="ERROR")
    with cluster, Client(cluster) as client:
        futures = {
            client.submit(timed_execute, job.notebook, job.output, job.parameters, job.title, threads, pure=False, retries=1): job
            for job in jobs
        }
        for future in as_completed(futures):
            job = futures[future]
            error = future.exception()
            if error is not None:
                yield job, Failure(str(job.output), "", f"{type(error).__name__}: {error}"), 0.0
            else:
                failure, seconds = future.result()
                yield job, failure, seconds
