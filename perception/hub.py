"""Models by name: those of PACKAGED ship with the package, hf://OWNER/NAME[@REVISION] is on a model
hub.

Files of a hub are downloaded once into the hub library's cache and compared with the hash that the
hub states. HF_HUB_OFFLINE=1 uses the cache only; HF_ENDPOINT names another server. Needs the extra
hub.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import perception
from perception.errors import UserError, first_line, require_extra

if TYPE_CHECKING:
    from perception.runtime.description import Description

DEFAULT: Final = "default"
FAST: Final = "fast"
SCHEME: Final = "hf://"
ONNX: Final = "model.onnx"
CHECKPOINT: Final = "model.safetensors"
MODELS: Final = Path(perception.__path__[0]) / "models"
# {name: {file on a hub: file in MODELS}}: the same weights for two sizes of input, and the network
# with a PVT v2 trunk, whose .onnx is left to export-onnx for the size of the package.
PACKAGED: Final[dict[str, dict[str, str]]] = {
    DEFAULT: {ONNX: "hydranet-lite0-480x832.onnx", CHECKPOINT: "hydranet-lite0.safetensors"},
    FAST: {ONNX: "hydranet-lite0-384x640.onnx", CHECKPOINT: "hydranet-lite0.safetensors"},
    "pvt": {CHECKPOINT: "pvt-hydranet-b0.safetensors"},
}
CARD: Final = "README.md"
# Kinds of output by the hub's names of tasks; it has none for surface normals.
HUB_TASKS: Final = {
    "boxes": "object-detection",
    "mask": "image-segmentation",
    "label": "image-classification",
    "map": "depth-estimation",
}
PREFIX: Final = re.compile("hf://?")  # Path() shortens // to /
NAME: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def local_file(name: str | Path, *filenames: str) -> Path:
    """The path itself; for a packaged model and hf://… the file of that model that is called so on
    a hub, the first of `filenames` that it ships with. Every command that takes a model resolves
    its name here.

    Raises UserError for an empty, malformed or unknown name, a gated model, a file that the model
    lacks or whose hash differs, or if the file is neither in the cache nor can be downloaded.
    """
    if str(name) in PACKAGED:
        return _packaged(str(name), filenames)
    if str(name) in ("", "."):  # Path("") is "."
        raise UserError(
            f"the model's name is empty or '.': write {', '.join(PACKAGED)}, a file or "
            f"{SCHEME}OWNER/NAME"
        )
    if not PREFIX.match(str(name)):
        return Path(name)
    text = PREFIX.sub(SCHEME, str(name), count=1)
    repo, revision = parse(text)
    require_extra("hub", "huggingface_hub")
    path = _download(text, repo, revision, filenames[0])
    _check_hash(text, path)
    return path


def _packaged(name: str, filenames: Sequence[str]) -> Path:
    files = PACKAGED[name]
    found = next((files[one] for one in filenames if one in files), None)
    if found is None:
        raise UserError(
            f"the model {name!r} ships as weights only: export-onnx {name} -o {name}.onnx makes "
            "the file"
        )
    path = MODELS / found
    if not path.is_file():
        raise UserError(
            f"the model {name!r} does not ship with this install: pass a file (FILE.onnx)"
        )
    return path


def packaged_name(path: Path) -> str:
    """The name of the packaged model whose .onnx this is, or ""."""
    names = {MODELS / files[ONNX]: name for name, files in PACKAGED.items() if ONNX in files}
    return names.get(path, "")


def parse(name: str) -> tuple[str, str | None]:
    """("OWNER/NAME", revision or None) of hf://OWNER/NAME[@REVISION]."""
    match = NAME.fullmatch(name.removeprefix(SCHEME))
    if match is None:
        raise UserError(f"{name:.200}: write {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION")
    return match["repo"], match["revision"]


def _download(name: str, repo: str, revision: str | None, filename: str) -> Path:
    from huggingface_hub import constants, errors, hf_hub_download, logging

    logging.set_verbosity_error()  # its warnings are followed by an exception, which is enough
    try:
        return Path(hf_hub_download(repo, filename, revision=revision))
    except errors.GatedRepoError:
        why = "gated; accept its terms on its page, then log in with 'hf auth login'"
    except errors.RepositoryNotFoundError:
        why = (
            f"no such model at {constants.ENDPOINT}, or it is private; check the name, or log in "
            "with 'hf auth login'"
        )
    except errors.RevisionNotFoundError:
        why = f"the model has no revision {revision!r}"
    except errors.LocalEntryNotFoundError:
        offline, place = constants.HF_HUB_OFFLINE, constants.ENDPOINT
        reason = "HF_HUB_OFFLINE is set" if offline else f"{place} cannot be reached"
        why = f"{filename} is not in the cache and {reason}"
    except errors.EntryNotFoundError:
        why = f"has no {filename}; a model made by push-model has one"
    except (errors.HFValidationError, errors.HTTPError, OSError) as error:
        why = f"{filename} cannot be downloaded ({first_line(error)})"
    raise UserError(f"{name}: {why}")


def _check_hash(name: str, path: Path) -> None:
    """Removes the file and raises UserError where its bytes are not those the hub named.

    In the cache a file is a link to a blob that is named by its hash: SHA-256 for large files,
    git's SHA-1 for small ones.
    """
    from huggingface_hub.utils.sha import git_hash

    blob = path.resolve()
    expected = blob.name
    if blob == path.absolute() or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", expected):
        raise UserError(
            f"{name}: the cache does not say which hash {path.name} should have; set HF_HOME to a "
            "folder whose file system supports links"
        )
    data = blob.read_bytes()
    found = hashlib.sha256(data).hexdigest() if len(expected) == 64 else git_hash(data)
    if found != expected:
        path.unlink()
        blob.unlink()
        raise UserError(
            f"{name}: {path.name} has hash {found[:16]}…, the hub names "
            f"{expected[:16]}…; the download was removed, run the command again"
        )


def push(onnx: Path, description: "Description", checkpoint: Path | None, name: str) -> str:
    """Uploads the model file, its checkpoint and a card written from `description`.

    Returns the address of the commit. Raises UserError where the hub refuses.
    """
    repo, revision = parse(name)
    require_extra("hub", "huggingface_hub")
    from huggingface_hub import CommitOperationAdd, HfApi, errors

    files: dict[str, Path | bytes] = {ONNX: onnx, CARD: card(description, repo).encode()}
    if checkpoint is not None:
        files[CHECKPOINT] = checkpoint
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    api = HfApi()
    try:
        api.create_repo(repo, exist_ok=True)
        done = api.create_commit(
            repo, operations, commit_message=f"Upload {description.name}", revision=revision
        )
    except (errors.HTTPError, ValueError, OSError) as error:
        raise UserError(
            f"{name}: the hub refused the upload ({first_line(error)}); is this your model, and "
            "are you logged in ('hf auth login')?"
        ) from None
    return str(done.commit_url)


def card(description: "Description", repo: str) -> str:
    """The model card: front matter that the hub reads, and text, from the model's own record."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type=HUB_TASKS.get(view.kind, "image-feature-extraction"),
            task_name=task,
            dataset_type="validation-frames-of-the-run",
            dataset_name="Validation frames of the training run, protocol of eval-bdd",
            dataset_config=task,  # results that differ in nothing else are put under one task
            metric_type=metric,
            metric_name=f"{task} {metric}",
            metric_value=round(value, 2),
        )
        for task, view in description.views.items()
        for metric, value in _headline(description.scores.get(task))
    ]
    views = description.views.values()
    data = ModelCardData(
        license="other",
        license_name="see-model-card",
        library_name="onnx",
        pipeline_tag=next(iter(HUB_TASKS[v.kind] for v in views if v.kind in HUB_TASKS), None),
        tags=["driving-perception", "multi-task-learning", "pvt-hydranet", *description.views],
        datasets=_datasets(description) or None,
        model_name=description.name,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_text(description, repo)}"


def _headline(scores: Any) -> list[tuple[str, float]]:
    """Scores of a task as a whole: without those of single classes, which have a slash in their
    name, and without the threshold of boxes, which is no score."""
    items = scores.items() if isinstance(scores, dict) else ()
    kept = [(k, v) for k, v in items if "/" not in k and k != "threshold"]
    return [(k, float(v)) for k, v in kept if isinstance(v, int | float)]


def _datasets(description: "Description") -> list[str]:
    """Names of the data that the training record lists, without counts and paths."""
    data = description.training.get("data", {})
    listed = data.get("data", []) if isinstance(data, dict) else []
    names = [re.match(r"[a-z0-9_-]+", str(entry)) for entry in listed]
    rendered = {"rendered"} if isinstance(data, dict) and data.get("rendered") else set()
    return sorted({match[0] for match in names if match} | rendered)


def _text(description: "Description", repo: str) -> str:
    height, width = description.size_hw
    outputs = "".join(
        f"| `{name}` | {view.kind} | "
        f"{', '.join(view.classes or view.categories or [g.name for g in view.groups]) or '-'} |\n"
        for name, view in description.views.items()
    )
    scores = "".join(
        f"| {task} | {metric} | {value:.1f} |\n"
        for task in description.views
        for metric, value in _headline(description.scores.get(task))
    )
    return f"""# {description.name}

A driving-perception network as one self-describing ONNX file for {width}x{height} frames.

```bash
pip install 'pvt-hydranet[cpu,demo,hub]'
perceive video.mp4 --model {SCHEME}{repo} --show
train-bdd --init {SCHEME}{repo} --data BDD100K --out runs/mine
```

For looking at and for fine-tuning, not for driving.

## Licence of the weights

{description.licence or "Not stated in the model file: ask its author."}

## Outputs

| output | kind | classes |
|---|---|---|
{outputs}
## Scores

On the validation frames of its own training run, by the protocol of `eval-bdd`; compare them only
with scores on the same frames.

| output | metric | value |
|---|---|---|
{scores}"""
