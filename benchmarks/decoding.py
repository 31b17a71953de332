"""Processor time of decoding and of the model per frame, in one interleaved run.

    python benchmarks/decoding.py drive.mp4 --threads 1

The clip is encoded again (H.264, crf 21; at 1080p also HEVC) at each size. Each round decodes ten
frames of every file, as `perceive` does, and runs the model once on the last of them.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np

from demo.pipeline import SourceFrame
from demo.sources import VideoFile
from perception.runtime.runner import Runner, default_model

KINDS = {
    "720p H.264": ("libx264", (720, 1280)),
    "1080p H.264": ("libx264", (1080, 1920)),
    "1080p HEVC": ("libx265", (1080, 1920)),
    "2160p H.264": ("libx264", (2160, 3840)),
}
BATCH = 10
OPTIONS = {
    "libx264": {"crf": "21", "preset": "veryfast"},
    "libx265": {"crf": "23", "preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
}


def encode(clip: Path, path: Path, codec: str, size_hw: tuple[int, int], count: int) -> None:
    """The first `count` frames of the clip at another size."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=OPTIONS[codec])
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuv420p"
        for frame in itertools.islice(VideoFile(clip), count):
            image = cv2.resize(frame.image, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        file.mux(stream.encode(None))


def frames(path: Path) -> Iterator[SourceFrame]:
    """The file's frames, again and again."""
    while True:
        yield from VideoFile(path)


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("clip", type=Path)
    made.add_argument("--rounds", type=int, default=20)
    made.add_argument("--frames", type=int, default=50, help="encoded per size")
    made.add_argument("--provider", default="cpu")
    made.add_argument("--threads", type=int, default=1)
    args = made.parse_args()
    cv2.setNumThreads(1)
    runner = Runner(default_model(), args.provider, args.threads)
    spent: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "model")}
    with TemporaryDirectory() as folder:
        sources = {}
        for kind, (codec, size_hw) in KINDS.items():
            path = Path(folder, f"{kind.replace(' ', '-')}.mp4")
            encode(args.clip, path, codec, size_hw, args.frames)
            sources[kind] = frames(path)
            last = next(sources[kind])
        runner(last.image)
        for _ in range(args.rounds):
            for kind, source in sources.items():
                start = time.process_time()
                for _ in range(BATCH):
                    last = next(source)
                spent[kind].append((time.process_time() - start) / BATCH)
            start = time.process_time()
            runner(last.image)
            spent["model"].append(time.process_time() - start)
    model = np.percentile(spent["model"], 10)
    print("| | share of the model's time, p10 | median |", "|---|---|---|", sep="\n")
    for kind in KINDS:
        p10, median = np.percentile(spent[kind], 10), np.median(spent[kind])
        print(f"| {kind} | {p10 / model:.3f} | {median / np.median(spent['model']):.3f} |")


if __name__ == "__main__":
    main()
