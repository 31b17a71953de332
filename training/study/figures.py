"""The figures of a report, drawn with matplotlib and saved next to it."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perception.files import replacing
from training.study.gain import (
    RowResult,
    estimate,
    gain,
    score_name,
    separate_parameters,
    task_gains,
    tasks_of,
)
from training.study.grouping import mean_matrix, probes_of
from training.study.plan import HARD

Matrix = Mapping[str, Mapping[str, float]]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Saved:
    """A picture file next to the report, and its caption."""

    file: str
    caption: str


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def draw_figures(results: Sequence[RowResult], folder: Path) -> list[Saved]:
    """Draws every figure for which there is data."""
    found = []
    gains = draw_gains(results)
    if gains:
        found.append((gains, "gains.png", "Multi-task gain with 95 % intervals over seeds."))
    found += [(f, f"curves-{task}.png", text) for task, f, text in learning_curves(results)]
    found += affinity_figures(results)
    for figure, file, _ in found:
        save(figure, folder / file)
    return [Saved(file, caption) for _, file, caption in found]


def draw_gains(results: Sequence[RowResult]) -> Figure | None:
    """One line per row with all tasks: gain, interval, and parameters in its name."""
    count = len(tasks_of(results))
    whole = [r for r in results if len(r.row.tasks) == count]
    values = sorted(
        ((value, r) for r in whole if (value := gain(r, results))), key=lambda pair: pair[0].mean
    )
    if not values:
        return None
    names = [f"{r.row.name(count)} ({r.parameters / 1e6:.2f}M)" for _, r in values]
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(values)), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(
        [value.mean for value, _ in values],
        range(len(values)),
        xerr=[value.half or 0.0 for value, _ in values],
        fmt="o",
        capsize=3,
    )
    axes.axvline(0.0, color="grey", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(values)), names, fontsize=8)
    separate = separate_parameters(whole[0], results) / 1e6
    against = f"single-task networks ({separate:.2f}M in all)" if separate else "the first row"
    axes.set_xlabel(f"gain over {against}, %")
    return figure


def learning_curves(results: Sequence[RowResult]) -> list[tuple[str, Figure, str]]:
    """Headline score over training steps, one figure per task with at most ten rows."""
    tasks, found = tasks_of(results), []
    for task in tasks:
        curves = {
            result.row.name(len(tasks)): mean_curve(result, task)
            for result in results
            if task in result.row.tasks and result.records
        }
        curves = {name: points for name, points in list(curves.items())[:10] if points}
        if curves:
            figure = draw_curves(curves, "training steps", f"{task} {score_name(task)}")
            found.append((task, figure, f"{task} on the validation frames, mean over seeds."))
    return found


def mean_curve(result: RowResult, task: str) -> Points:
    """(step, mean over seeds of the headline score) at each validation."""
    by_epoch: list[list[tuple[float, float]]] = []
    for record in result.records:
        for epoch, point in enumerate(record["curve"]):
            if point["val"].get(task) is not None:
                while len(by_epoch) <= epoch:
                    by_epoch.append([])
                by_epoch[epoch].append((float(point["step"]), float(point["val"][task])))
    means = [np.mean(points, 0) for points in by_epoch if points]
    return [(float(x), float(y)) for x, y in means]


def draw_curves(curves: Mapping[str, Points], x_name: str, y_name: str) -> Figure:
    """One line per curve with a legend at the right."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    plot_curves(figure.subplots(), curves, x_name, y_name)
    figure.legend(loc="outside right upper", fontsize=7)
    return figure


def plot_curves(axes: Axes, curves: Mapping[str, Points], x_name: str, y_name: str) -> None:
    """The lines alone, on given axes."""
    for name, points in curves.items():
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker=".", label="\n".join(textwrap.wrap(name, 34)))
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(alpha=0.3)


def affinity_figures(results: Sequence[RowResult]) -> list[tuple[Figure, str, str]]:
    """Gains in pairs; look-ahead affinity and gradient cosines of each probed row."""
    tasks, found = tasks_of(results), []
    pairs = pair_gains(results)
    if pairs:
        text = "Gain of the row's task when trained with the column's, % (measured in pairs)."
        found.append((draw_matrices({"gain, %": (tasks, pairs)}), "pairs.png", text))
    probed = [r for r in results if len(r.row.tasks) > 2 and probes_of(r)]
    for number, result in enumerate(probed):
        name, probes = result.row.name(len(tasks)), probes_of(result)
        own = [task for task in tasks if task in result.row.tasks]
        ahead = mean_matrix([probe["ahead"] for probe in probes])
        scaled = {a: {b: 1000 * v for b, v in ahead[a].items()} for a in own if a in ahead}
        matrices: dict[str, tuple[Sequence[str], Matrix]] = {"look-ahead, ‰": (own, scaled)}
        for stage in probes[0]["cosine"]:
            matrix = mean_matrix([probe["cosine"][stage] for probe in probes])
            matrices[f"gradient cosine, {stage}"] = (own, matrix)
        text = (
            f"{name}: relative decrease of the column's loss by a step along the row's gradient, "
            "and cosines between the tasks' gradients, mean over training."
        )
        found.append((draw_matrices(matrices), f"affinity-{number + 1}.png", text))
    return found


def pair_gains(results: Sequence[RowResult]) -> dict[str, dict[str, float]]:
    """Task -> partner -> gain of the task, of pairs with equal weights and a shared trunk."""
    found: dict[str, dict[str, float]] = {}
    for result in results:
        plain = (result.row.balance, result.row.sharing) == ("equal", HARD)
        if len(result.row.tasks) == 2 and plain and result.records:
            for task, partner in (result.row.tasks, result.row.tasks[::-1]):
                value = estimate(task_gains(result, task, results))
                if value:
                    found.setdefault(task, {})[partner] = value.mean
    return found


def draw_matrices(matrices: Mapping[str, tuple[Sequence[str], Matrix]]) -> Figure:
    """Task-by-task heat maps in a row of at most four: blue positive, red negative."""
    columns = min(len(matrices), 4)
    rows = -(-len(matrices) // columns)
    side = 0.9 + 0.55 * max(len(tasks) for tasks, _ in matrices.values())
    figure = Figure(figsize=(side * columns, side * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid[len(matrices) :]:
        axes.axis("off")
    for axes, (title, (tasks, matrix)) in zip(grid, matrices.items(), strict=False):
        heat_map(axes, title, tasks, matrix)
    return figure


def heat_map(axes: Axes, title: str, tasks: Sequence[str], matrix: Matrix) -> None:
    """One matrix; the diagonal is left out."""
    values = np.array([[matrix.get(a, {}).get(b, np.nan) for b in tasks] for a in tasks])
    np.fill_diagonal(values, np.nan)
    known = np.abs(values[np.isfinite(values)])
    largest = float(known.max()) if known.size and known.max() > 0 else 1.0
    axes.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
    axes.set_title(title, fontsize=8)
    axes.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=7)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=7)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if abs(value) > 0.6 * largest else "black"
            text = axes.text(column, row, f"{value:+.2g}", ha="center", va="center", fontsize=6)
            text.set_color(colour)
