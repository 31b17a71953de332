"""Nothing in the packages can run code that came in a file: no pickle, no eval, no exec."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("perception", "training", "export", "demo", "benchmarks")
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
NEVER = {"eval", "exec", "compile", "__import__"}
# Functions that unpickle by default: (last part of the name, keyword, required value).
# np.load is safe by default; the keyword is required so that no later default can change it.
REQUIRED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", None),
    "np.savez": ("allow_pickle", None),
}


def breaches(source: str) -> Iterator[str]:
    """What in a source could load code from data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in NEVER:
                yield name
            if name.endswith(("yaml.load", "yaml.unsafe_load", "read_pickle", "torch.jit.load")):
                yield name
            keyword, value = REQUIRED.get(name, ("", None))
            given = {k.arg: k.value for k in node.keywords}
            stands = given.get(keyword)
            if value is not None and not (
                isinstance(stands, ast.Constant) and stands.value is value
            ):
                yield f"{name} without {keyword}={value}"
            if isinstance(stands, ast.Constant) and keyword == "allow_pickle" and stands.value:
                yield f"{name} with {keyword}"


def test_nothing_loads_code_from_data():
    sources = [path for place in PLACES for path in (ROOT / place).rglob("*.py")]
    assert len(sources) > 50
    found = {str(path): list(breaches(path.read_text())) for path in sources}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import json, struct", []),
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("import torch\ntorch.load(p)", ["torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=False)", ["torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=True)", []),
        ("np.load(p)", ["np.load without allow_pickle=False"]),
        ("np.load(p, mmap_mode='r', allow_pickle=False)", []),
        ("np.save(p, a, allow_pickle=True)", ["np.save with allow_pickle"]),
        ("np.save(p, a)", []),
        ("model.eval()", []),
        ("eval(text)", ["eval"]),
        ("exec(open(p).read())", ["exec"]),
        ("yaml.load(f)", ["yaml.load"]),
        ("re.compile('a')", []),
    ],
)
def test_the_rule_finds_a_violation(source, seen):
    assert list(breaches(source)) == seen
