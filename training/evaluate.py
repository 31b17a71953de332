"""Score a model on a dataset: official BDD100K metrics and the panoptic driving protocol.

The model is a checkpoint (.safetensors) or an exported .onnx. It is scored in the pixels of the
frames with all metrics that the labels of the dataset allow. The table has the headline scores;
--json and --markdown hold all of them.

example:
  eval-bdd runs/bdd/best.safetensors --data BDD100K --json scores.json
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

from perception.arguments import parse
from perception.errors import UserError, cli, require_extra
from perception.files import check_outputs, dataset_folders, write_atomic
from perception.hub import CHECKPOINT, ONNX, local_file
from perception.runtime.view import BOX_SCORE

if TYPE_CHECKING:
    from training.data.dataset import Dataset
    from training.evaluation.predictor import Predictor

PROTOCOLS: Final = {"bdd": ("bdd",), "panoptic": ("panoptic",), "both": ("bdd", "panoptic")}
LEAST_RESAMPLES: Final = 200


@dataclass(frozen=True)
class DataOptions:
    """Frames to score."""

    data: str = ""
    """Dataset folder, or KIND:DIR as for train-bdd, e.g. coco:DIR; default: rendered roads."""
    labels: Path | None = None
    """Folder or file with the labels, where --data holds images only."""
    classes: Path | None = None
    """The file of class lists that the model was trained with, where it maps or ignores names."""
    split: Literal["train", "val", "test"] = "val"
    """Split of the dataset."""
    limit: int = 0
    """Score the first N frames only; 0 scores all."""
    skip_bad: bool = False
    """Skip frames that cannot be read, and list them."""


@dataclass(frozen=True)
class ModelOptions:
    """How the model is run."""

    batch: int = 8
    """Frames per forward pass of a checkpoint; an .onnx gets one frame at a time."""
    provider: str = "cpu"
    """Provider of an .onnx: cpu, cuda, openvino, ...; auto measures which is fastest."""
    threads: int = 4
    """Threads that read frames and compute scores."""


@dataclass(frozen=True)
class ScoreOptions:
    """What is computed."""

    protocol: Literal["bdd", "panoptic", "both"] = "both"
    """BDD100K metrics, those of the panoptic driving papers (YOLOP and successors), or both."""
    protocol_batch: int = 24
    """Frames per batch of the panoptic _batchN scores; YOLOP uses 24."""
    slices: bool = False
    """Also print the scores by weather, scene and time of day."""
    bootstrap: int = 0
    """Resample the frames N times (at least 200) for 95 % intervals."""
    toolkit: bool = False
    """Also score with the official bdd100k and scalabel evaluators and print both results; needs
    the extra `bdd`, lanes take about 2 s per frame."""


@dataclass(frozen=True)
class OutputOptions:
    """What is written."""

    json: Path | None = None
    """Write all scores to this file."""
    markdown: Path | None = None
    """Write the tables to this file."""
    submission: Path | None = None
    """Write the files for the benchmark server into this new folder."""
    export: str = ""
    """Write the predictions as FORMAT:PATH (scalabel, coco, yolo or cvat), to be corrected."""
    export_score: float = BOX_SCORE
    """Lowest score of a box in --export."""
    store: bool = False
    """Store scores and score thresholds in the checkpoint; export-onnx copies them to the .onnx."""


@dataclass(frozen=True)
class Arguments:
    """The command line of eval-bdd."""

    file: Path
    """Checkpoint of train-bdd (.safetensors), exported .onnx, hf://OWNER/NAME[@REVISION] or
    `default` or `fast` (the pretrained models)."""
    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    scores: ScoreOptions = field(default_factory=ScoreOptions)
    output: OutputOptions = field(default_factory=OutputOptions)

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--limit", self.data.limit, 0),
            ("--batch", self.model.batch, 1),
            ("--threads", self.model.threads, 1),
            ("--protocol-batch", self.scores.protocol_batch, 1),
        ):
            if value < least:
                raise UserError(f"{flag} {value}: must be at least {least}")
        if self.scores.bootstrap and self.scores.bootstrap < LEAST_RESAMPLES:
            raise UserError(
                f"--bootstrap {self.scores.bootstrap}: must be at least {LEAST_RESAMPLES}, or 0 "
                "for no intervals"
            )
        if not 0 <= self.output.export_score <= 1:
            raise UserError(f"--export-score {self.output.export_score}: give a number from 0 to 1")
        data, output = self.data, self.output
        check_outputs(
            [("--json", output.json), ("--markdown", output.markdown)],
            [("model", self.file), ("--classes", data.classes), ("--labels", data.labels)],
            datasets=dataset_folders(data.data, data.labels),
        )
        if self.output.export:
            from perception.runtime.annotations import parse_export  # needs OpenCV

            parse_export(self.output.export)
        if self.output.store and self.file.suffix != ".safetensors":
            raise UserError(f"--store {self.file}: only a checkpoint (.safetensors) can store them")


def parse_arguments(words: Sequence[str] | None = None) -> Arguments:
    """Arguments from a command line (default: sys.argv)."""
    return parse(Arguments, "eval-bdd", __doc__, words)


def open_data(options: DataOptions, predictor: "Predictor", unlabelled: bool) -> "Dataset":
    """The frames to score, decoded at full size; `unlabelled`: frames without labels will do."""
    from training.data.class_lookup import joint_lists
    from training.data.classes import ClassLists, read_classes
    from training.data.dataset import OpenOptions
    from training.data.frames import Frames
    from training.data.sources import open_dataset

    given = read_classes(options.classes) if options.classes else None
    classes = ClassLists.of_views(predictor.views, given)
    strict, labels = not options.skip_bad, options.labels
    how = OpenOptions(exact=True, strict=strict, labels=labels, classes=classes)
    # Rendered roads are made: only as many as are scored.
    made = f"rendered:{options.limit}/{options.limit}" if options.limit else "rendered"
    word, split, size_hw = options.data or made, options.split, predictor.size_hw
    try:
        dataset = open_dataset(word, split, tuple(predictor.views), size_hw, **how)
    except UserError:
        if not unlabelled:
            raise
        dataset = open_dataset(word, split, (), size_hw, **how)
    return Frames([dataset], lists=joint_lists([dataset], classes))


def score(arguments: Arguments, predictor: "Predictor") -> None:
    """Scores a model, prints the tables and writes the files that were asked for."""
    from rich.console import Console

    from perception.runtime.annotations import Export, parse_export
    from training.evaluation.reference import ToolkitCheck
    from training.evaluation.report import as_json, markdown, show
    from training.evaluation.scores import Sink, evaluate
    from training.evaluation.submission import Submission

    model, scores, output = arguments.model, arguments.scores, arguments.output
    dataset = open_data(
        arguments.data, predictor, unlabelled=bool(output.submission or output.export)
    )
    console = Console()
    with ExitStack() as stack:
        check = None
        if scores.toolkit:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="eval-bdd-")))
            check = ToolkitCheck(predictor.views, folder)
        sinks: list[Sink] = [check.add] if check else []
        if output.submission:
            submission = Submission(output.submission, predictor.views)
            sinks.append(stack.enter_context(submission).add)
        if output.export:
            export = stack.enter_context(Export(*parse_export(output.export), predictor.views))
            least = output.export_score
            sinks.append(lambda frame, scene: export.add(frame.name, scene.from_score(least)))
        result = evaluate(
            predictor,
            dataset,
            protocols=PROTOCOLS[scores.protocol],
            protocol_batch=scores.protocol_batch,
            batch=model.batch,
            threads=model.threads,
            limit=arguments.data.limit,
            skip_bad=arguments.data.skip_bad,
            bootstrap=scores.bootstrap,
            slices=bool(scores.slices or output.json or output.markdown),
            sinks=sinks,
            console=console,
        )
        if check:
            result["toolkit"] = check.compare()
            result["notes"] += check.notes()
    place = arguments.data.data or "rendered roads"
    result = {"file": str(arguments.file), "data": place, "split": arguments.data.split} | result
    show(result if scores.slices else result | {"slices": {}}, console)
    if output.json:
        write_atomic(output.json, as_json(result))
    if output.markdown:
        write_atomic(output.markdown, markdown(result))
    if output.store:
        store(arguments.file, result)


def store(path: Path, result: Mapping[str, Any]) -> None:
    """Replaces the scores in a checkpoint by those in frame pixels, with the thresholds."""
    from perception import checkpoint
    from training.evaluation.scores import stored_scores

    weights, meta = checkpoint.read(path)
    new = {task: own for task, own in stored_scores(result).items() if task in meta.tasks}
    checkpoint.save(path, weights, replace(meta, scores=meta.scores | new))


def run() -> None:
    """The command, with its errors raised."""
    require_extra("train", "torch", "timm", "pycocotools", "safetensors", "tyro", "rich")
    arguments = parse_arguments()
    if arguments.scores.toolkit:
        require_extra("bdd", "bdd100k", "scalabel")
    from training.evaluation.predictor import open_predictor

    file = local_file(arguments.file, ONNX, CHECKPOINT)
    score(arguments, open_predictor(file, arguments.model.provider))


def main() -> int:
    """The command."""
    return cli(run)


if __name__ == "__main__":
    raise SystemExit(main())
