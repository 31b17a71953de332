"""What eval-bdd runs: a split through a model, and everything to be told about it."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from perception.errors import UserError
from training.data.dataset import Dataset
from training.data.rendered import COUNTS
from training.data.sources import open_dataset
from training.evaluation.arguments import Arguments
from training.evaluation.frames import batches, read_frames
from training.evaluation.predictor import Predictor, single_thread_opencv, to_frame
from training.evaluation.scores import Evaluation
from training.evaluation.submission import Submission

FAMILIES: Final = {"bdd": ("bdd",), "panoptic": ("panoptic",), "both": ("bdd", "panoptic")}
# What must be known about a source of labels before its scores are compared with anyone's.
SOURCE_NOTES: Final = {
    ("lane", "marking"): "lane truth is the painted area, without category, style or direction: "
    "foreground scores only, and not comparable with figures measured on 2 px lines",
    ("lane", "teacher"): "the lane labels of some frames are another network's predictions: "
    "agreement with it, never accuracy",
}


def open_split(arguments: Arguments, predictor: Predictor) -> Dataset:
    """The frames to score. For a submission, all frames of a split without labels will do."""
    tasks = tuple(predictor.views)
    word = arguments.data or f"rendered:{COUNTS['train']}/{arguments.limit or COUNTS['val']}"
    # Frames are decoded whole, as the car gets them; roads are rendered at the model's size.
    size_hw, strict = predictor.size_hw, not arguments.skip_bad
    try:
        return open_dataset(word, arguments.split, tasks, size_hw, exact=True, strict=strict)
    except UserError:
        if arguments.submission is None:
            raise
        return open_dataset(word, arguments.split, (), size_hw, exact=True, strict=strict)


def evaluate(
    arguments: Arguments, predictor: Predictor, dataset: Dataset, console: Console
) -> dict[str, Any]:
    """Scores the split and fills the submission folder."""
    single_thread_opencv()
    evaluation = Evaluation(predictor.views, FAMILIES[arguments.protocol])
    skipped: list[str] | None = [] if arguments.skip_bad else None
    folder, views = arguments.submission, predictor.views
    seen: list[int] = []
    with (
        ThreadPoolExecutor(arguments.threads) as pool,
        Submission(folder, views) if folder else nullcontext() as out,
        _progress(console) as bar,
    ):
        count = min(len(dataset), arguments.limit or len(dataset))
        line = bar.add_task("frames", total=count)
        ahead = 2 * max(arguments.batch, arguments.threads)
        frames = read_frames(dataset, predictor, pool, ahead, skipped, arguments.limit)
        for batch in batches(frames, arguments.batch):
            outputs = predictor([frame.image for frame in batch])
            evaluation.add(
                [(o, f.targets, f.box) for o, f in zip(outputs, batch, strict=True)],
                [frame.attributes for frame in batch],
                pool,
            )
            if out:
                for frame, output in zip(batch, outputs, strict=True):
                    native = {n: to_frame(output[n], v, frame.box) for n, v in views.items()}
                    out.add(frame.name, native)
            seen += [frame.index for frame in batch]
            bar.update(line, advance=len(batch))
    return _result(arguments, predictor, dataset, evaluation, seen) | {"skipped": skipped or []}


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _result(
    arguments: Arguments,
    predictor: Predictor,
    dataset: Dataset,
    evaluation: Evaluation,
    seen: Sequence[int],
) -> dict[str, Any]:
    truth = truth_sources(dataset, seen)
    slices = {
        name: {"frames": len(frames), "scores": evaluation.scores(frames)}
        for name, frames in evaluation.slices().items()
    }
    rounds = arguments.bootstrap
    return {
        "file": str(arguments.file),
        "model": predictor.name,
        "size_hw": list(predictor.size_hw),
        "data": arguments.data or "rendered roads",
        "split": arguments.split,
        "frames": len(seen),
        "truth": truth,
        "notes": _notes(dataset, truth, evaluation),
        "headlines": evaluation.headlines(),
        "scores": evaluation.scores(),
        "slices": slices,
        "bootstrap": rounds,
        "intervals": evaluation.intervals(rounds) if rounds else {},
    }


def truth_sources(dataset: Dataset, seen: Sequence[int]) -> dict[str, dict[str, int]]:
    """{task: {where its masks are from: frames}}, where the dataset can say."""
    out: dict[str, dict[str, int]] = {}
    for task in dataset.tasks:
        counts = Counter(dataset.source(task, index) for index in seen)
        counts.pop("", None)
        if counts:
            out[task] = dict(counts)
    return out


def _notes(dataset: Dataset, truth: dict[str, dict[str, int]], evaluation: Evaluation) -> list[str]:
    notes = [note for (task, source), note in SOURCE_NOTES.items() if source in truth.get(task, {})]
    notes += dataset.notes()
    for task, scores in evaluation.scores().get("bdd", {}).items():
        if "mIoU_strict" in scores:
            notes.append(
                f"{task} mIoU is the toolkit's, which forgives false alarms on the background; "
                "mIoU_strict counts them"
            )
    unseen = {channel.task for channel in evaluation.channels if not channel.frames}
    if unseen:
        notes.append(f"no labels here for {', '.join(sorted(unseen))}: not scored")
    return notes
