"""Inference engines behind one interface, and the description read from a model file."""

import os
import threading
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from perception.errors import UserError, first_line, require_extra, unknown_name
from perception.runtime.adapters import find_adapter
from perception.runtime.description import KEY, Description
from perception.runtime.onnx_file import check

CPU: Final = "CPUExecutionProvider"
# Names of bfloat16 instructions in /proc/cpuinfo, of x86 and ARM.
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
ARENA: Final[list[int]] = []  # bytes of this process's memory arena, once there is one


class Engine(Protocol):
    """A loaded model."""

    names: tuple[str, ...]  # the outputs, in the order run() returns them

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Outputs for one uint8 (1, H, W, 3) BGR image."""


class OrtEngine:
    """ONNX Runtime on one of its execution providers."""

    def __init__(
        self, path: Path, provider: str, threads: int, memory: int = 0, streams: int = 1
    ) -> None:
        if streams > 1 and provider == CPU:
            threads = -(-(threads or os.cpu_count() or 1) // streams)
        self.path, self.session = path, ort_session(path, threads, provider, memory=memory)
        if provider not in self.session.get_providers():
            raise UserError(f"{provider} did not start on this machine; use --provider cpu")
        self.names = tuple(output.name for output in self.session.get_outputs())
        self.input = self.session.get_inputs()[0].name

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Outputs for one uint8 (1, H, W, 3) BGR image. Raises UserError where the graph fails."""
        try:
            return self.session.run(None, {self.input: image})
        except Exception as error:  # the library raises a dozen unrelated types
            raise UserError(
                f"{self.path}: fails on a frame ({first_line(error)}); "
                "export the model again with export-onnx"
            ) from None


class OpenVinoEngine:
    """OpenVINO on the CPU; it reads the same .onnx."""

    def __init__(
        self, path: Path, precision: str, threads: int, memory: int = 0, streams: int = 1
    ) -> None:
        import openvino

        check(path)
        config: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if streams > 1:
            config["NUM_STREAMS"] = streams
        if threads:
            config["INFERENCE_NUM_THREADS"] = threads
        self.model = openvino.Core().compile_model(str(path), "CPU", config)
        self.names = tuple(_own_name(output) for output in self.model.outputs)
        self.own = threading.local()  # one request per thread
        # Its binding to NumPy is set up by the first array; two threads at once deadlock there.
        openvino.Tensor(np.zeros(1, np.uint8))

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Outputs for one uint8 (1, H, W, 3) BGR image."""
        if not hasattr(self.own, "request"):
            self.own.request = self.model.create_infer_request()
        request = self.own.request
        request.infer([image])
        # Copies, because the request's own buffers are overwritten by the next frame.
        return [request.get_output_tensor(i).data.copy() for i in range(len(self.names))]


def _own_name(output: Any) -> str:
    """The graph's name for an output; OpenVINO also lists names of the nodes before it."""
    name = output.get_node().get_friendly_name().rpartition("/")[0]
    return name if name in output.get_names() else output.get_any_name()


def join_arena(options: Any, memory: int) -> None:
    """Bounds a session's tensors to `memory` bytes, in the one arena that ONNX Runtime allows a
    process. A later session that needs more is unbounded."""
    import onnxruntime

    if not ARENA:
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        bounds = onnxruntime.OrtArenaCfg(memory, -1, -1, -1)
        onnxruntime.create_and_register_allocator(place, bounds)
        ARENA.append(memory)
    if memory <= ARENA[0]:
        options.add_session_config_entry("session.use_env_allocators", "1")


def memory_limit(size_hw: tuple[int, int]) -> int:
    """Bytes, several times what our models need (the default one: 0.5 KiB per pixel)."""
    return (512 << 20) + 4096 * size_hw[0] * size_hw[1]


def ort_session(
    path: Path, threads: int, provider: str, optimise: bool = True, memory: int = 0
) -> Any:
    """An onnxruntime.InferenceSession. Raises UserError where the file is not a model.

    `memory` bounds its tensors on the CPU in bytes, because a graph can ask for any size.
    """
    require_extra("cpu", "onnxruntime")
    import onnxruntime

    check(path)
    if provider != CPU:
        # The pip builds find CUDA and cuDNN in the nvidia-* wheels only after this call.
        getattr(onnxruntime, "preload_dlls", lambda: None)()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if memory and provider == CPU:
        join_arena(options, memory)
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # the library raises a dozen unrelated types
        raise UserError(f"{path}: ONNX Runtime cannot load it ({first_line(error)})") from None


# Class, and its provider or precision; best first: `auto` tries them in this order.
ENGINES: Final[dict[str, tuple[type[OrtEngine] | type[OpenVinoEngine], str]]] = {
    "tensorrt": (OrtEngine, "TensorrtExecutionProvider"),
    "cuda": (OrtEngine, "CUDAExecutionProvider"),
    "openvino-bf16": (OpenVinoEngine, "bf16"),
    "openvino": (OpenVinoEngine, "f32"),
    "cpu": (OrtEngine, CPU),
}
# Building a TensorRT engine takes minutes at every start: not by default.
NOT_AUTOMATIC = ("tensorrt",)


def missing(provider: str) -> str:
    """Why this machine lacks a provider and how to get it; empty where it has it."""
    engine, option = ENGINES[provider]
    if engine is OrtEngine:
        import onnxruntime

        have = option in onnxruntime.get_available_providers()
        extra = "pip install 'pvt-hydranet[gpu]' in place of cpu"
        return "" if have else f"this onnxruntime has no GPU support: {extra}"
    if find_spec("openvino") is None:
        return "pip install 'pvt-hydranet[openvino]'"
    if option == "bf16" and not cpu_has_bf16():
        return "this CPU has no bfloat16 instructions; use openvino"
    return ""


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has bfloat16 instructions; without them libraries emulate, slower than
    float32."""
    try:
        return not BF16_FLAGS.isdisjoint(cpuinfo.read_text().split())
    except OSError:
        return False


def versions(*packages: str) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def faster_extra() -> str:
    """The extra whose provider would be faster on this machine, "" where there is none."""
    return "openvino" if find_spec("openvino") is None and cpu_has_bf16() else ""


def candidates() -> list[str]:
    """Providers `auto` chooses from on this machine, best first; `cpu` is always the last."""
    return [name for name in ENGINES if name not in NOT_AUTOMATIC and not missing(name)]


def check_provider(provider: str) -> None:
    """Raises UserError for an unknown provider and for one that this machine lacks."""
    if provider not in ENGINES:
        raise unknown_name("provider", provider, ["auto", *ENGINES])
    require_extra("cpu", "onnxruntime")
    if reason := missing(provider):
        raise UserError(f"provider {provider} is not available here: {reason}")


def load(path: Path, provider: str, threads: int, memory: int = 0, streams: int = 1) -> Engine:
    """Loads the model on a named provider. Raises UserError with the reason where it cannot.

    `memory` bounds its tensors in bytes where the provider supports it (cpu); 0: no bound.
    `streams`: calls of `run` at the same time that share the threads.
    """
    check_provider(provider)
    engine, option = ENGINES[provider]
    try:
        return engine(path, option, threads, memory, streams)
    except UserError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError for everything
        reason = str(error).strip().splitlines()[-1][:200]
        raise UserError(f"{path}: provider {provider} cannot load it ({reason})") from None


def read_description(path: str | Path) -> Description:
    """The description inside an .onnx file, or an `Adapter` for a known network's. Raises UserError
    where there is none, or where it does not fit the graph's inputs and outputs."""
    path = Path(path)
    # Without optimising the graph, which is the slow part of loading.
    session = ort_session(path, 1, CPU, optimise=False)
    try:
        text = session.get_modelmeta().custom_metadata_map.get(KEY)
        inputs = [(one.name, one.type, one.shape) for one in session.get_inputs()]
        outputs = tuple(output.name for output in session.get_outputs())
        shapes = [output.shape for output in session.get_outputs()]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: names in it are not UTF-8 ({error.reason}); make a file with export-onnx"
        ) from None
    if text is None:
        adapter = find_adapter([(kind, shape) for _, kind, shape in inputs], shapes)
        if adapter:
            return adapter
        raise UserError(
            f"{path}: an ONNX file, but without our metadata field {KEY!r}; "
            "make one with export-onnx CHECKPOINT -o model.onnx"
        )
    description = Description.from_json(text, str(path))
    if len(inputs) != 1:
        raise UserError(f"{path}: has {len(inputs)} inputs, expected one frame")
    _, kind, shape = inputs[0]
    sides = [side for side in shape[1:3] if isinstance(side, int)]
    if kind != "tensor(uint8)" or (sides and tuple(sides) != description.size_hw):
        raise UserError(f"{path}: its input is {kind} {shape!s:.100}, expected a uint8 frame")
    check_outputs(path, description, outputs)
    return description


def check_outputs(path: Path, description: Description, names: tuple[str, ...]) -> None:
    """Raises UserError where the description names outputs that the graph lacks."""
    absent = [name for name in description.views if name not in names]
    if absent or not description.views:
        raise UserError(f"{path}: outputs named by its description are missing: {absent}")
