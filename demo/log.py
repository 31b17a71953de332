"""perceive --json: Scalabel frames, as BDD100K's labels are, one per line or as a list."""

import json
import os
from pathlib import Path

from demo.pipeline import Packet
from demo.sinks import FileSink, descriptor
from perception.runtime.annotations import scalabel_frame
from perception.runtime.shapes import annotate


class ScalabelSink(FileSink):
    """One frame per line (.jsonl), or all frames as a list (.json).

    Boxes are box2d, areas and markings closed poly2d. With `geometry` (a camera is given), lanes
    are open poly2d, and boxes, lanes and frame carry its numbers (docs/geometry.md).
    """

    def __init__(self, path: Path, video: str, keep: bool = True, geometry: bool = False) -> None:
        super().__init__(path, keep)
        self.video, self.geometry, self.frames = video, geometry, 0
        self.is_list = path.suffix.lower() == ".json"

    def open(self) -> None:
        """Unbuffered: a killed run leaves every line written so far."""
        # Opening /dev/stdout anew would empty a file that the shell appends to.
        number = descriptor(self.part)
        opened = self.part if number is None else os.dup(number)
        self.file = open(opened, "wb", buffering=0)  # noqa: SIM115 - see on_close
        self.on_close(self.file.close)
        if self.is_list:
            self.on_close(lambda: self.file.write(b"\n]\n" if self.frames else b"[]\n"))

    def append(self, packet: Packet) -> None:
        """Writes a frame; one that the disk has no room for is removed again."""
        at = packet.frame
        road = packet.road if self.geometry else None
        frame = annotate(at.name, packet.scene, road, outlined=road is None)
        timestamp = round(1000 * at.seconds)
        entry = scalabel_frame(
            frame, at.index, videoName=self.video, frameIndex=at.index, timestamp=timestamp
        )
        text = json.dumps(entry, allow_nan=False, separators=(",", ":"))
        before, after = ("[\n", "") if self.is_list else ("", "\n")
        if self.is_list and self.frames:
            before = ",\n"
        start = self.file.tell() if self.part.is_file() else 0
        try:
            self.file.write((before + text + after).encode())
        except OSError:
            if self.part.is_file():
                self.file.truncate(start)
                self.file.seek(start)
            raise
        self.frames += 1
