"""Rules on the source: which package may import which, no import cycles, no task's name."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from perception.runtime.scene import KINDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("perception", "training", "export", "demo")
MAY_IMPORT = {
    "perception": {"perception"},
    "training": {"training", "perception"},
    "export": {"export", "perception"},
    "demo": {"demo", "perception"},
}
TORCH_FREE = ("perception/runtime", "demo")
TORCH = {"torch", "torchvision", "timm", "torchjd", "torchmetrics", "safetensors"}
# What a car installs; anything else must be imported where it is used, behind an option.
CAR = {"numpy", "cv2", "onnxruntime"}
NAMELESS = ("perception/runtime", "demo", "export", "training/loop.py")
# The only file that may say a word that is both a kind and a task: it defines the kinds.
KINDS_FILE = "perception/runtime/view.py"


def sources(*places: str) -> list[Path]:
    """Every Python file in folders or files given relative to the root."""
    found = []
    for place in places:
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    return found


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of all modules imported anywhere in a file, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            prefix = ".".join([*base, node.module] if node.module else base)
            yield prefix
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def forbidden_imports(source: str, package: str) -> set[str]:
    """Modules of this project that a file of `package` (dotted) imports and may not."""
    top = package.split(".")[0]
    ours = {name for name in imports(ast.parse(source), package) if name.split(".")[0] in PACKAGES}
    return {name for name in ours if name.split(".")[0] not in MAY_IMPORT[top]}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_packages_import_only_downwards():
    found = {
        label(path): forbidden
        for path in sources(*PACKAGES)
        if (forbidden := forbidden_imports(path.read_text(), dotted(path)))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("", "demo", set()),
        ("import perception.files", "demo", set()),
        ("from training.loop import train_epoch", "perception.tasks", {"training.loop"}),
        ("def f():\n    import export.check", "demo", {"export.check"}),
        ("import demo.sources", "perception.runtime", {"demo.sources"}),
        ("from .. import training", "perception.runtime", set()),
    ],
)
def test_the_layering_rule_finds_a_violation(source: str, package: str, found: set[str]):
    seen = forbidden_imports(source, package)
    assert found <= seen
    assert bool(found) == bool(seen)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def import_graph(texts: dict[str, str]) -> dict[str, set[str]]:
    """{module: modules of `texts` it imports, anywhere in the file}. `from package import module`
    counts as an import of the module, not of the package."""
    graph: dict[str, set[str]] = {}
    for name, text in texts.items():
        is_package = any(other.startswith(f"{name}.") for other in texts)
        package = name if is_package else name.rpartition(".")[0]
        graph[name] = set()
        for node in ast.walk(ast.parse(text)):
            if not _is_import(node):
                continue
            head, *names = imports(ast.Module([node], []), package)
            from_head = isinstance(node, ast.ImportFrom) and not all(one in texts for one in names)
            used = {*names, head} if from_head or isinstance(node, ast.Import) else set(names)
            graph[name] |= (used & set(texts)) - {name}
    return graph


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, empty where there are none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


def test_no_import_cycles():
    texts = {module_name(path): path.read_text() for path in sources(*PACKAGES)}
    assert len(texts) > 50
    assert cycle(import_graph(texts)) == []


@pytest.mark.parametrize(
    ("texts", "modules"),
    [
        ({"p.a": "import p.b", "p.b": ""}, set()),
        ({"p.a": "import p.b", "p.b": "from p.a import f"}, {"p.a", "p.b"}),
        ({"p.a": "from . import b", "p.b": "def f():\n    from p import a"}, {"p.a", "p.b"}),
        ({"p": "from p.a import A", "p.a": "from p import b", "p.b": ""}, set()),
        ({"p": "from p.a import A\nX = 1", "p.a": "from p import X"}, {"p", "p.a"}),
        ({"p.a": "import p.b", "p.b": "import p.c", "p.c": "import p.a"}, {"p.a", "p.b", "p.c"}),
    ],
)
def test_the_cycle_rule_finds_a_cycle(texts: dict[str, str], modules: set[str]):
    assert set(cycle(import_graph(texts))) == modules


def top_level_packages(tree: ast.AST, path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(tree, dotted(path))}


def test_car_half_never_imports_torch():
    """Inside functions neither."""
    found = {
        label(path): torch
        for path in sources(*TORCH_FREE)
        if (torch := top_level_packages(ast.parse(path.read_text()), path) & TORCH)
    }
    assert found == {}


def test_runtime_needs_only_what_a_car_installs():
    """At module level; optional engines may be imported inside a function."""
    allowed = CAR | set(sys.stdlib_module_names) | {"perception"}
    found = {}
    for path in sources("perception/runtime"):
        tree = ast.Module([n for n in ast.parse(path.read_text()).body if _is_import(n)], [])
        if other := top_level_packages(tree, path) - allowed:
            found[label(path)] = other
    assert found == {}


def _is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_runtime_and_command_load_without_torch():
    """For real, in a fresh interpreter where importing torch fails, whatever imports what."""
    blocked = ", ".join(f"{name!r}: None" for name in sorted(TORCH))
    modules = [label(p)[:-3].replace("/", ".") for p in sources("perception/runtime")]
    modules += ["demo.perceive", "demo.sources", "demo.pipeline", "demo.sinks", "demo.show"]
    code = f"import sys; sys.modules.update({{{blocked}}})\n" + "\n".join(
        f"import {name.removesuffix('.__init__')}" for name in modules
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def registered_names() -> set[str]:
    """Names of all tasks and balancing methods, from their registries."""
    names = registry("perception/tasks/__init__.py", "TASKS")
    assert names, "the registry of tasks was not found"
    balance = ROOT / "training" / "balance" / "__init__.py"
    methods = literal_dict_keys(balance.read_text()) if balance.exists() else {"not built yet"}
    assert methods, "the registry of balancing methods was not found"
    return names | methods


def registry(place: str, name: str) -> set[str]:
    """Keys of one literal dict; read, not imported, so that this test needs no torch."""
    return literal_dict_keys((ROOT / place).read_text(), name)


def literal_dict_keys(source: str, wanted: str | None = None) -> set[str]:
    """String keys of the module-level dicts (of the one named `wanted`, where given)."""
    keys: set[str] = set()
    for node in ast.parse(source).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
        if not isinstance(target, ast.Name) or not isinstance(node.value, ast.Dict):
            continue
        if wanted in (None, target.id):
            keys |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return keys


def named(source: str, names: set[str]) -> set[str]:
    """The names that stand in a source as string literals, alone or in a list "a,b"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = {part.strip() for part in node.value.split(",")}
            if parts <= names:
                found |= parts
    return found


def test_no_task_and_no_balancing_method_is_named():
    names, found = registered_names(), {}
    for path in sources(*NAMELESS):
        allowed = set(KINDS) if label(path) == KINDS_FILE else set()
        if literals := named(path.read_text(), names - allowed):
            found[label(path)] = literals
    assert found == {}


def test_no_module_of_a_task_is_imported():
    """A name in an import is no string literal, so the rule above does not see it."""
    general = {"perception.tasks.base", "perception.tasks.class_names"}
    found = {}
    for path in sources(*NAMELESS):
        modules = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        if own := {one for one in modules if one.startswith("perception.tasks.")} - general:
            found[label(path)] = own
    assert found == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("", set()),
        ("'''lane marks of the det task'''", set()),
        ("if name == 'lane': pass", {"lane"}),
        ("tasks = {'det': 1}", {"det"}),
        ("default = 'det,lane'", {"det", "lane"}),
        ("help = 'the lane, and more'", set()),
    ],
)
def test_the_naming_rule_finds_a_violation(source: str, found: set[str]):
    assert named(source, {"det", "lane"}) == found


def runs_at_import(node: ast.stmt) -> bool:
    """Whether a statement at module level is no definition, constant, import or __main__ guard."""
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    guard = ast.unparse(node.test) if isinstance(node, ast.If) else ""
    is_guarded = "__name__" in guard or guard == "TYPE_CHECKING"
    definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    plain = _is_import(node) or isinstance(node, definition | ast.Assign | ast.AnnAssign)
    return not (is_text or is_guarded or plain)


def test_nothing_runs_when_a_module_is_imported():
    found = [
        f"{label(path)}:{node.lineno}"
        for path in sources(*PACKAGES)
        for node in ast.parse(path.read_text()).body
        if runs_at_import(node)
    ]
    assert found == []


def test_only_studies_import_studies():
    study = ROOT / "training" / "study"
    found = [
        f"{label(path)}: {name}"
        for path in sources(*PACKAGES)
        if not path.is_relative_to(study)
        for name in imports(ast.parse(path.read_text()), dotted(path))
        if name.startswith("training.study")
    ]
    assert found == []
