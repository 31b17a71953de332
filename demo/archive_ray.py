"""Many videos on many processes, here or on a cluster: Ray Data around the labeller.

Only names travel: the model, the videos and the labels lie where every worker can reach them.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from demo.archive_child import Child
from demo.archive_video import Job, Outcome, Settings
from perception.errors import UserError, require_extra

LOCAL = "local"
# Only names pass through Ray's store; left alone it would reserve a third of the memory.
STORE_BYTES = 128 * 2**20
ANSWER_S = 120.0  # a cluster that answers at all answers in seconds


class Worker:
    """A place in the pool: one child process, one video at a time."""

    def __init__(self, settings: Settings, patience_s: float) -> None:
        self.label = Child(settings, patience_s)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """A batch of one job to a batch of one outcome."""
        job = Job(*(str(batch[field.name][0]) for field in fields(Job)))
        return {key: [value] for key, value in self.label(job).row().items()}


def label_all(
    jobs: Sequence[Job],
    settings: Settings,
    patience_s: float,
    address: str = LOCAL,
    workers: int = 0,
    gpus: float = 0,
) -> Iterator[Outcome]:
    """An outcome for every job, as they come. `workers` 0: as many as the machines take.

    Raises UserError where Ray is missing, the cluster does not answer or is lost.
    """
    require_extra("ray", "ray", "pyarrow", "pandas")
    import ray

    odd = [job for job in jobs if not _is_text(job.video)]
    for job in odd:
        yield Outcome(job.name, problem=f"{job.name!r}: a name that is not UTF-8; rename the file")
    jobs = [job for job in jobs if job not in odd]
    if not jobs:
        return
    start(address, workers, settings.threads)
    missing = {job.name for job in jobs}
    try:
        pool = pool_options(workers, settings.threads, gpus, len(jobs))
        # A block a video, so that whatever is lost is one video.
        rows = ray.data.from_items([asdict(job) for job in jobs], override_num_blocks=len(jobs))
        done = rows.map_batches(
            Worker, fn_constructor_args=(settings, patience_s), batch_size=1, **pool
        )
        # iter_rows would hold every outcome back until the next one.
        for batch in done.iter_batches(batch_size=1, prefetch_batches=0, batch_format="numpy"):
            outcome = Outcome(**{key: column.tolist()[0] for key, column in batch.items()})
            missing.discard(outcome.name)
            yield outcome
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1][:200]
        raise UserError(f"Ray gave up ({last}); start the same command again to go on") from None
    finally:
        ray.shutdown()
    for name in sorted(missing):
        yield Outcome(name, problem=f"{name}: lost with its worker; start the same command again")


def _is_text(path: str) -> bool:
    """Whether a path can travel as text; names on disk are bytes and need not be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def knock(address: str) -> None:
    """Raises UserError where no cluster answers. Ray itself would try for ever, so a process that
    can be stopped goes first."""
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
    command = [sys.executable, "-c", code, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"--address {address}: no Ray cluster answers there") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        raise UserError(f"--address {address}: no Ray cluster there ({reason})")


def start(address: str, workers: int, threads: int) -> None:
    """Starts Ray here, or joins a cluster. Quiet: what matters is said by the outcomes."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no word to anyone outside
    import ray
    from ray.data import DataContext

    if address != LOCAL:
        knock(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {
            "num_cpus": max(os.cpu_count() or 1, workers * threads),
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        }
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise UserError(f"--address {address}: Ray does not start ({reason})") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a lost video is reported, and the others go on


def pool_options(workers: int, threads: int, gpus: float, jobs: int) -> dict[str, Any]:
    """The pool of workers, in map_batches' words. Raises UserError where no worker fits."""
    import ray
    from ray.data import ActorPoolStrategy

    have = ray.cluster_resources()
    fits = int(have.get("CPU", 0) // threads)
    if gpus:
        fits = min(fits, int(have.get("GPU", 0) // gpus))
    if not fits:
        asked = f"{threads} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UserError(f"no room for a worker of {asked}; lower --threads or --gpus")
    most = max(1, min(workers or fits, jobs))
    # One video at a time each: a second one in a worker's queue could have gone to an idle one.
    pool = ActorPoolStrategy(
        min_size=1, max_size=most, initial_size=min(most, fits), max_tasks_in_flight_per_actor=1
    )
    return {"compute": pool, "num_cpus": threads} | ({"num_gpus": gpus} if gpus else {})
