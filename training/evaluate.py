"""eval-bdd FILE --data DIR [--split val] [--protocol both] [--json out.json] [--submission DIR]

Scores a checkpoint (.safetensors) or an exported .onnx in the frame's own pixels, by the official
BDD100K metrics and by the protocol of YOLOP and its successors, on the whole split and by
attribute (day and night, weather, scene).
"""

from perception.errors import cli, require_extra
from perception.files import write_atomic


def score() -> None:
    """Runs the model over the split, prints the tables and writes what was asked for."""
    require_extra("train", "torch", "timm", "pycocotools", "safetensors", "tyro", "rich")
    import tyro
    from rich.console import Console

    from training.evaluation.arguments import Arguments
    from training.evaluation.predictor import open_predictor
    from training.evaluation.report import as_json, markdown, show
    from training.evaluation.split import evaluate, open_split

    arguments = tyro.cli(Arguments, description=__doc__)
    console = Console()
    predictor = open_predictor(arguments.file, arguments.provider)
    dataset = open_split(arguments, predictor)
    result = evaluate(arguments, predictor, dataset, console)
    show(result, console)
    if arguments.json:
        write_atomic(arguments.json, as_json(result))
    if arguments.markdown:
        write_atomic(arguments.markdown, markdown(result))


def main() -> int:
    """The command."""
    return cli(score)
