"""Many videos on a Ray cluster, with Ray Data.

Only paths are sent: model, videos and labels must be reachable from every worker.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from demo.archive_jobs import Job, Settings, VideoOutcome
from demo.archive_worker import Worker
from perception.errors import UserError

CONNECT_TIMEOUT_S = 120.0


class RayWorker:
    """An actor of the pool: one child process, one video at a time."""

    def __init__(self, settings: Settings, timeout_s: float) -> None:
        self.label = Worker(settings, timeout_s)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[str]]:
        """A batch of one job to a batch of one outcome, both as JSON: names of files are bytes and
        need not be UTF-8, and JSON escapes them."""
        job = Job(**json.loads(str(batch["job"][0])))
        return {"outcome": [json.dumps(asdict(self.label(job)))]}


def label_all(
    jobs: Sequence[Job],
    settings: Settings,
    timeout_s: float,
    address: str,
    workers: int = 0,
    gpus: float = 0,
) -> Iterator[VideoOutcome]:
    """An outcome per job, in the order they finish. `workers` 0: as many as fit.

    Raises UserError where the cluster does not answer or is lost.
    """
    import ray

    start(address)
    missing = {job.name for job in jobs}
    try:
        pool = pool_options(workers, settings.threads, gpus, len(jobs))
        # One block per video, so that a failure loses one video.
        items = [{"job": json.dumps(asdict(job))} for job in jobs]
        rows = ray.data.from_items(items, override_num_blocks=len(jobs))
        done = rows.map_batches(
            RayWorker, fn_constructor_args=(settings, timeout_s), batch_size=1, **pool
        )
        # iter_rows would return each outcome only with the next one.
        for batch in done.iter_batches(batch_size=1, prefetch_batches=0, batch_format="numpy"):
            outcome = VideoOutcome(**json.loads(str(batch["outcome"][0])))
            missing.discard(outcome.name)
            yield outcome
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1][:200]
        raise UserError(f"Ray failed ({last}); run the same command again to continue") from None
    finally:
        ray.shutdown()
    for name in sorted(missing):
        yield VideoOutcome(
            name, problem=f"{name}: lost with its worker; run the same command again"
        )


def start(address: str) -> None:
    """Joins a cluster, without Ray's own log output."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    import ray
    from ray.data import DataContext

    # Asked first in a child process, because ray.init has no timeout.
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
    command = [sys.executable, "-c", code, address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"--address {address}: no Ray cluster answers there") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        raise UserError(f"--address {address}: no Ray cluster there ({reason})")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:200]
        raise UserError(f"--address {address}: Ray does not start ({reason})") from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a lost video is reported, the others continue


def pool_options(workers: int, threads: int, gpus: float, jobs: int) -> dict[str, Any]:
    """Arguments of map_batches for the pool. Raises UserError where no worker fits."""
    import ray
    from ray.data import ActorPoolStrategy

    have = ray.cluster_resources()
    fits = int(have.get("CPU", 0) // threads)
    if gpus:
        fits = min(fits, int(have.get("GPU", 0) // gpus))
    if not fits:
        asked = f"{threads} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
        raise UserError(f"no worker of {asked} fits; lower --threads or --gpus")
    most = max(1, min(workers or fits, jobs))
    # One video per worker at a time: a second one in its queue might wait while others are idle.
    pool = ActorPoolStrategy(
        min_size=1, max_size=most, initial_size=min(most, fits), max_tasks_in_flight_per_actor=1
    )
    return {"compute": pool, "num_cpus": threads} | ({"num_gpus": gpus} if gpus else {})
