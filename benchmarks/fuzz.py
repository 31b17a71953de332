"""python benchmarks/fuzz.py --reader labels --minutes 30: damaged files into a reader, for long.

A developer's tool. Coverage-guided by atheris where it is installed (pip install atheris), else
by the mutators alone. What is found (an exception other than UserError, a hang, a crash of the
process, more than 1 GB) is counted once per place in the code and kept under --out; the campaign
goes on. Also `--replay FOLDER`: reads FOLDER/READER/VARIANT-NAME files, a JSON line for each.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

# Of the processor, so that a busy machine makes no findings; by the clock only what stands still.
SLOW_S: Final = 5
BUSY_S: Final = 20
HANG_S: Final = 120
MEMORY: Final = 1 << 30
# Above this the system refuses, so that a finding cannot take the machine down.
ADDRESSES: Final = 6 << 30
REPORT_S: Final = 5.0


def main() -> int:
    args = parser().parse_args()
    quiet()
    if args.replay:
        return replay(args.replay)
    if args.worker:
        return Worker(args).run()
    return campaign(args)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("fuzz.py", description=__doc__)
    made.add_argument("--reader", choices=["labels", "images", "checkpoint", "onnx", "video"])
    made.add_argument("--minutes", type=float, default=1.0)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="findings (%(default)s)")
    made.add_argument("--replay", type=Path, help="read what lies in a folder, once")
    made.add_argument("--plain", action="store_true", help="without atheris")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


def quiet() -> None:
    """One thread for each library, and none of their own lines."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = "1"
    os.environ |= {"MALLOC_ARENA_MAX": "2", "OPENCV_LOG_LEVEL": "SILENT"}
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"


# --- the campaign: workers one after another until the time is up --------------------------------


def campaign(args: argparse.Namespace) -> int:
    """Starts a worker, and another when it dies; prints the sums."""
    out = args.out / args.reader
    out.mkdir(parents=True, exist_ok=True)
    start, cpu, workers = time.monotonic(), 0.0, 0
    total: dict[str, Any] = {"executions": 0, "refused": 0, "peak_mb": 0, "findings": {}}
    while (left := 60 * args.minutes - (time.monotonic() - start)) > 1:
        state = out / f"worker-{os.getpid()}"
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        code, said = one_worker(args, state, left, args.seed + workers)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu += now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        workers += 1
        add(total, state, out, code, said)
        shutil.rmtree(state)
        report(args.reader, total, time.monotonic() - start, cpu, workers)
        if not total["executions"]:
            print(said, file=sys.stderr)
            return 2
    (out / "result.json").write_text(
        json.dumps(total | {"minutes": (time.monotonic() - start) / 60, "cpu_minutes": cpu / 60})
    )
    return 1 if total["findings"] else 0


def one_worker(args: argparse.Namespace, state: Path, left: float, seed: int) -> tuple[int, str]:
    """(exit code, the end of what it wrote)."""
    command = [sys.executable, __file__, "--worker", "--reader", args.reader]
    command += ["--minutes", str(left / 60), "--seed", str(seed), "--out", str(state)]
    command += ["--plain"] if args.plain else []
    with open(state / "said", "wb") as said:
        code = subprocess.run(command, stdout=said, stderr=said).returncode
    return code, (state / "said").read_bytes()[-3000:].decode(errors="replace")


def add(total: dict[str, Any], state: Path, out: Path, code: int, said: str) -> None:
    """The worker's counts and findings into the campaign's; its death is a finding of its own."""
    told = state / "told.json"
    counts = json.loads(told.read_text()) if told.exists() else {}
    for key in ("executions", "refused"):
        total[key] += counts.get(key, 0)
    total["peak_mb"] = max(total["peak_mb"], counts.get("peak_mb", 0))
    for place, count in counts.get("findings", {}).items():
        total["findings"][place] = total["findings"].get(place, 0) + count
    for file in state.glob("finding-*"):
        shutil.copy(file, out / file.name)
    if code not in (0, 1) and counts.get("executions"):
        how = "hang" if code in (-signal.SIGALRM, -signal.SIGPROF, 70) else f"exit {code}"
        place = f"{how}: {(said.strip().splitlines() or [''])[-1][:200]}"
        total["findings"][place] = total["findings"].get(place, 0) + 1
        shutil.copy(state / "current", out / f"finding-{how.replace(' ', '')}-{time.time():.0f}")


def report(reader: str, total: dict[str, Any], wall: float, cpu: float, workers: int) -> None:
    print(
        f"{reader}: {total['executions']} executions ({total['refused']} refused), "
        f"{len(total['findings'])} unique findings, peak {total['peak_mb']} MB over the start, "
        f"{wall / 60:.1f} min, {cpu / 60:.1f} CPU min, {workers} workers",
        flush=True,
    )
    for place, count in sorted(total["findings"].items()):
        print(f"  {count:6d} x {place}", flush=True)


# --- the worker: one process that reads and reads ------------------------------------------------


INSTRUMENTED: Final = {
    "labels": [f"training.data.{name}" for name in ("bdd", "bdd100k", "coco", "voc", "cityscapes")],
    "images": ["perception.images", "perception.files", "training.data", "demo.video"],
    "checkpoint": ["perception.checkpoint", "perception.files", "perception.errors"],
    "onnx": ["perception.runtime"],
    "video": ["demo.video", "perception.images", "perception.runtime.letterbox"],
}


class Worker:
    """Reads damaged files until its time is up. The input in hand is always in `current`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.reader, self.state = args.reader, args.out
        self.rng, self.seconds = random.Random(args.seed), 60 * args.minutes
        self.guided = not args.plain and importlib.util.find_spec("atheris") is not None
        self.counts: dict[str, Any] = {"executions": 0, "refused": 0, "peak_mb": 0, "findings": {}}
        self.told = 0.0

    def run(self) -> int:
        if self.guided:
            import atheris

            # What is imported from here on reports which lines it runs.
            with atheris.instrument_imports(include=INSTRUMENTED[self.reader]):
                import fuzz_readers

                self.prepare(fuzz_readers)
            self.atheris(atheris)
        else:
            import fuzz_readers

            self.prepare(fuzz_readers)
            while self.going_on():
                self.one(self.damaged(self.rng.choice(self.seeds), self.rng))
        self.tell()
        return 0

    def prepare(self, readers: Any) -> None:
        """Reads every good file, which loads all libraries, and then draws the line for memory."""
        self.readers, self.folder = readers, readers.scratch()
        self.variants = sorted(readers.READERS[self.reader])
        self.seeds = []
        for number, name in enumerate(self.variants):
            for seed in readers.READERS[self.reader][name].seeds():
                with contextlib.suppress(Exception):  # some are good for other readers only
                    readers.attempt(self.reader, name, self.folder, seed)
                self.seeds.append(bytes([number]) + seed)
        self.start = self.peak = readers.memory()[1]
        self.end = time.monotonic() + self.seconds
        resource.setrlimit(resource.RLIMIT_AS, (addresses() + ADDRESSES,) * 2)

    def damaged(self, data: bytes, rng: random.Random) -> bytes:
        """Of (variant byte + content), the content damaged."""
        from mutate import mutate

        return data[:1] + mutate(data[1:], rng)

    def atheris(self, atheris: Any) -> None:
        corpus = self.state / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(self.seeds):
            (corpus / f"{number}").write_bytes(seed)

        def mutator(data: bytes, size: int, seed: int) -> bytes:
            if seed % 3 and len(data) > 1:
                return self.damaged(data, random.Random(seed))[:size]
            return atheris.Mutate(data, size)

        def target(data: bytes) -> None:
            if not self.going_on():
                self.tell()
                shutil.rmtree(self.folder, ignore_errors=True)
                os._exit(0)  # libFuzzer offers no other way out with an exit code of our own
            self.one(data)

        flags = [f"-timeout={HANG_S}", "-rss_limit_mb=0", "-max_len=120000", "-len_control=0"]
        flags += [f"-seed={self.rng.randrange(1, 1 << 30)}", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], target, custom_mutator=mutator)
        atheris.Fuzz()

    def going_on(self) -> bool:
        now = time.monotonic()
        if now - self.told > REPORT_S:
            self.told = now
            self.tell()
        return now < self.end

    def tell(self) -> None:
        self.counts["peak_mb"] = (self.peak - self.start) >> 20
        beside = self.state / "told.part"
        beside.write_text(json.dumps(self.counts))
        beside.replace(self.state / "told.json")

    def one(self, data: bytes) -> None:
        """Reads one input; anything but "read" and "refused" is kept."""
        variant = self.variants[(data[:1] or b"\0")[0] % len(self.variants)]
        (self.state / "current").write_bytes(data)
        before = self.readers.memory()[0]
        limit_time(alarm=not self.guided)  # libFuzzer has an alarm of its own
        started = time.process_time()
        try:
            refused = self.readers.attempt(self.reader, variant, self.folder, data[1:])
            self.counts["refused"] += bool(refused)
        except BaseException as error:
            self.keep(f"{variant}: {place_of(error)}", data)
        self.counts["executions"] += 1
        if time.process_time() - started > SLOW_S:
            self.keep(f"{variant}: took more than {SLOW_S} s", data)
        peak = self.readers.memory()[1]
        if peak > self.peak and peak - before > MEMORY:
            self.keep(f"{variant}: took more than 1 GB", data)
        self.peak = max(self.peak, peak)

    def keep(self, place: str, data: bytes) -> None:
        """Counts a finding; the first of its kind is kept as a file."""
        found = self.counts["findings"]
        if place not in found:
            name = "".join(letter if letter.isalnum() else "-" for letter in place)[:120]
            (self.state / f"finding-{name}").write_bytes(data)
        found[place] = found.get(place, 0) + 1


def limit_time(alarm: bool = True) -> None:
    """Ends this process with SIGPROF or SIGALRM unless it is called again in time."""
    signal.setitimer(signal.ITIMER_PROF, BUSY_S)
    if alarm:
        signal.alarm(HANG_S)


def addresses() -> int:
    """Bytes of address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def place_of(error: BaseException) -> str:
    """Kind of error and the last line of ours that it passed through."""
    ours = str(Path(__file__).parents[1])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(ours)]
    inner = [f for f in frames if "/.venv/" not in f.filename]
    at = f"{Path(inner[-1].filename).name}:{inner[-1].name}" if inner else "?"
    return f"{type(error).__name__} in {at}: {str(error)[:80]!r}".translate(DIGITS)


# Numbers would make one finding look like many.
DIGITS: Final = str.maketrans("123456789", "000000000")


# --- replay: named files, once each --------------------------------------------------------------


def replay(folder: Path) -> int:
    """A JSON line before and after each file: {"file"}, then {"result", "mb", "seconds"}."""
    import fuzz_readers

    say: Callable[[Any], None] = lambda value: print(json.dumps(value), flush=True)  # noqa: E731
    scratch = fuzz_readers.scratch()
    for reader, variant in sorted({(r, v) for r, v, _ in cases(folder)}):
        for seed in fuzz_readers.READERS[reader][variant].seeds():
            with contextlib.suppress(Exception):
                fuzz_readers.attempt(reader, variant, scratch, seed)
    resource.setrlimit(resource.RLIMIT_AS, (addresses() + ADDRESSES,) * 2)
    peak = fuzz_readers.memory()[1]
    for reader, variant, path in cases(folder):
        say({"file": str(path.relative_to(folder))})
        before, started = fuzz_readers.memory()[0], time.process_time()
        limit_time()
        try:
            result = fuzz_readers.attempt(reader, variant, scratch, path.read_bytes()) or "read"
        except BaseException:
            result = "TRACEBACK " + traceback.format_exc()[-1500:]
        now = fuzz_readers.memory()[1]
        grown = now - before if now > peak else 0
        peak = max(peak, now)
        say(
            {
                "result": result,
                "mb": grown >> 20,
                "seconds": round(time.process_time() - started, 2),
            }
        )
    shutil.rmtree(scratch, ignore_errors=True)
    return 0


def cases(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(reader, variant, file) of FOLDER/READER/VARIANT--NAME."""
    for path in sorted(folder.glob("*/*")):
        yield path.parent.name, path.name.partition("--")[0], path


if __name__ == "__main__":
    sys.exit(main())
