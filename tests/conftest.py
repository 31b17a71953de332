"""Fixtures of the torch-free half: a model file of ours, made by hand in a moment."""

from pathlib import Path

import numpy as np
import pytest

from perception.classes import DRIVABLE, LANE_CATEGORIES, LANE_DIRECTIONS, LANE_STYLES
from perception.runtime.description import Description
from perception.runtime.view import LANE_BYTE, Group, View

SIZE_HW = (48, 80)
# Left out by `-m "not slow"`, as is what is marked where it stands: tests with these fixtures,
# and those whose names begin so. They train, export, or start processes.
SLOW_FIXTURES = {"exported"}
SLOW_TESTS = tuple(
    f"tests/{name}"
    for name in (
        "demo/test_archive.py::test_a_hanging_process",
        "demo/test_archive.py::test_an_unreachable_cluster",
        "demo/test_archive.py::test_child_processes",
        "demo/test_archive.py::test_the_process_ends_with_its_parent",
        "demo/test_faults_command.py::test_a_log_that_the_shell_appends_to",
        "demo/test_faults_command.py::test_a_reader_that_has_seen_enough",
        "demo/test_faults_command.py::test_a_stopped_run",
        "demo/test_faults_command.py::test_a_view_switch",
        "demo/test_faults_command.py::test_json_on_standard_output",
        "demo/test_faults_command.py::test_names_that_the_terminal_cannot_show",
        "demo/test_full_disk.py::test_a_full_disk_is_one_line",
        "demo/test_full_disk.py::test_a_killed_run",
        "demo/test_live.py::test_a_server_that_accepts_and_sends_nothing",
        "demo/test_live.py::test_a_stalled_stream",
        "demo/test_log.py::test_a_list_is_what_scalabel_loads",
        "demo/test_log.py::test_the_number_of_outlines",
        "demo/test_perceive.py::test_it_runs_without_torch",
        "demo/test_perceive.py::test_real_clips",
        "demo/test_serve.py::test_an_active_viewer",
        "demo/test_video.py::test_clips_of_unusual_sizes",
        "export/test_export_onnx.py::test_a_packaged_model",
        "export/test_export_onnx.py::test_the_model_that_ships",
        "export/test_inference_rewrite.py::test_rewritten_trunk",
        "perception/metrics/test_detection.py::test_memory",
        "perception/runtime/test_description.py::test_a_written_description",
        "perception/runtime/test_onnx_page.py::test_the_function_gives_what_the_runner_gives",
        "perception/runtime/test_runner.py::test_a_provider_that_crashes",
        "perception/sharing/test_passes.py::test_all_experts",
        "perception/sharing/test_passes.py::test_every_residual_branch",
        "perception/sharing/test_sharing.py::test_every_part",
        "perception/sharing/test_sharing.py::test_intermediate_predictions",
        "perception/sharing/test_sharing.py::test_one_head_alone",
        "perception/sharing/test_sharing.py::test_rewritten_for_export",
        "perception/sharing/test_sharing.py::test_survives_saving",
        "perception/tasks/test_det.py::test_training_on_one_scene",
        "perception/tasks/test_every_task.py::test_learns_one_sample",
        "perception/test_arguments.py::test_a_reader_that_has_enough",
        "perception/test_arguments.py::test_help_of_a_command",
        "perception/test_checkpoint.py::test_trunk_weights",
        "perception/test_images.py::test_one_limit_on_pixels",
        "perception/test_model.py::test_study_trunks",
        "training/balance/test_balance.py::test_equal_is_plain_backward_through_the_real_trunk",
        "training/test_affinity.py::test_tasks_that_disturb_each_other",
        "training/data/test_datasets.py::test_imagenet_coco_and_ade20k_train_one_network",
        "training/data/test_exported_labels.py::test_what_is_exported",
        "training/data/test_formats.py::test_check_bdd_is_clean",
        "training/data/test_rendered.py::test_rendered_roads_have_every",
        "training/evaluation/test_command.py::test_a_full_disk",
        "training/test_faults_files.py::test_a_corrupt",
        "training/test_logs.py::test_validation_gives",
        "training/test_train.py::test_a_full_disk",
        "training/test_train.py::test_a_run_is_freed",
        "training/test_train.py::test_one_task_runs",
        "training/test_train.py::test_the_command_prints",
    )
)
# Output names are no task's name: the runtime must not care.
VIEWS = {
    "things": View("boxes", classes=("car", "pedestrian")),
    "area": View("mask", classes=DRIVABLE),
    "paint": View(
        "mask",
        encoding=LANE_BYTE,
        categories=LANE_CATEGORIES,
        styles=LANE_STYLES,
        directions=LANE_DIRECTIONS,
    ),
    "mood": View("label", groups=(Group("light", ("day", "night")), Group("sky", ("a", "b", "c")))),
    "far": View("map", unit="m", range=(0, 255)),
    "way": View("normals"),
}


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks slow tests, see SLOW_TESTS."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if item.nodeid.startswith(SLOW_TESTS) or not SLOW_FIXTURES.isdisjoint(fixtures):
            item.add_marker("slow")


def tiny_model(
    path: Path, views: dict[str, View] | None = None, metadata: str | None = None
) -> Path:
    """Writes an .onnx whose outputs follow from the frame: `area` is 0 where blue is bright and 2
    elsewhere, `far` is the mean brightness, `paint` a line in column 40, the rest constant."""
    from onnx import TensorProto, helper, numpy_helper

    height, width = SIZE_HW
    boxes = np.zeros((1, 100, 6), np.float32)
    boxes[0, 0] = (8, 16, 40, 32, 0.9, 0)  # model pixels
    boxes[0, 1] = (40, 20, 60, 40, 0.4, 1)
    paint = np.full((1, height, width), 255, np.uint8)
    paint[0, :, 40] = 6
    way = np.zeros((1, 3, height, width), np.float32)
    way[0, 1] = -1
    constants = {
        "things": boxes,
        "paint": paint,
        "mood": np.array([[[0.8, 0.2, 0], [0.1, 0.3, 0.6]]], np.float32),
        "way": way,
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in constants.items()
    ]
    blue = np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)
    weights = [
        numpy_helper.from_array(blue, "blue"),
        numpy_helper.from_array(np.array([3], np.int64), "last"),
        numpy_helper.from_array(np.array(127, np.float32), "half"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        numpy_helper.from_array(np.array(2, np.uint8), "two"),
    ]
    nodes += [
        helper.make_node("Cast", ["frame"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "last"], ["far"], keepdims=0),
        helper.make_node("Mul", ["pixels", "blue"], ["only_blue"]),
        helper.make_node("ReduceSum", ["only_blue", "last"], ["blueness"], keepdims=0),
        helper.make_node("Greater", ["blueness", "half"], ["is_blue"]),
        helper.make_node("Where", ["is_blue", "zero", "two"], ["area"]),
    ]
    floats = {
        "things": (1, 100, 6),
        "mood": (1, 2, 3),
        "far": (1, *SIZE_HW),
        "way": (1, 3, *SIZE_HW),
    }
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in floats.items()
    ] + [
        helper.make_tensor_value_info(name, TensorProto.UINT8, (1, *SIZE_HW))
        for name in ("area", "paint")
    ]
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, (1, *SIZE_HW, 3))
    graph = helper.make_graph(nodes, "tiny", [frame], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if metadata is None:
        metadata = Description("tiny", SIZE_HW, VIEWS if views is None else views).to_json()
    if metadata:
        helper.set_model_props(model, {"perception": metadata})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a good model file."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="session")
def make_tiny_onnx():
    """tiny_model itself, for files that are wrong on purpose."""
    return tiny_model


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames of 160x120 at 25 fps: a bright blue square moving over grey."""
    import cv2

    path = tmp_path_factory.mktemp("video") / "square.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    for index in range(30):
        frame = np.full((120, 160, 3), 90, np.uint8)
        frame[40:80, 4 * index : 4 * index + 40] = (250, 60, 60)
        writer.write(frame)
    writer.release()
    return path
