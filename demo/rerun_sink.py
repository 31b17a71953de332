"""perceive --rerun: all outputs in the Rerun viewer or an .rrd file, on the source's timeline."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import rerun

from demo.overlay import EGO_COLOUR
from demo.pipeline import BoundedQueue, Packet
from demo.sinks import FileSink
from perception.errors import UserError
from perception.runtime.colours import colour
from perception.runtime.scene import Boxes, Labels, Map, Mask

TIMELINE = "video"
FLUSH_TIMEOUT_S = 5.0  # for the viewer to receive the last frames


class RerunViewer(AbstractContextManager["RerunViewer"]):
    """Opens the viewer and sends it the newest frame whenever it has received the one before, so
    that a slow viewer does not block the pipeline."""

    def __init__(self, title: str) -> None:
        self.recording = named(title)
        self.newest: BoundedQueue[Packet] = BoundedQueue(1, newest=True)
        self.thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> "RerunViewer":
        try:
            self.recording.spawn()
        except Exception as error:  # the library's own, of several types
            raise UserError(
                f"--rerun: the viewer does not start ({error}); give FILE.rrd instead"
            ) from None
        self.thread.start()
        return self

    def write(self, packet: Packet) -> None:
        """Replaces the frame the viewer gets next."""
        self.newest.put(packet)

    def _send(self) -> None:
        for packet in self.newest:
            log(self.recording, packet)
            self.recording.flush()  # blocks until the viewer has it, so that no backlog forms

    def __exit__(self, *_: object) -> None:
        self.newest.end()
        self.thread.join(FLUSH_TIMEOUT_S)


class RerunFile(FileSink):
    """Every frame in an .rrd file."""

    def __init__(self, path: Path, title: str) -> None:
        super().__init__(path)
        self.recording = named(title)

    def open(self) -> None:
        """Connects the recording to the file."""
        self.recording.save(self.part)
        self.on_close(self.recording.disconnect)  # completes the file

    def append(self, packet: Packet) -> None:
        log(self.recording, packet)


def named(title: str) -> rerun.RecordingStream:
    """A new recording, listed in the viewer under this title."""
    recording = rerun.RecordingStream("perceive")
    recording.send_recording_name(title)
    return recording


def log(recording: rerun.RecordingStream, packet: Packet) -> None:
    """One frame: picture, boxes, lanes, masks as class images, maps as depth, labels as text."""
    recording.set_time(TIMELINE, duration=packet.frame.seconds)
    rgb = cv2.cvtColor(packet.frame.image, cv2.COLOR_BGR2RGB)
    recording.log("camera", rerun.Image(rgb).compress(jpeg_quality=85))
    for name, boxes in packet.scene.of(Boxes):
        shown = boxes.take(boxes.counted)
        drawn = rerun.Boxes2D(
            array=shown.xyxy,
            array_format=rerun.Box2DFormat.XYXY,
            labels=[shown.text(i) for i in range(len(shown))],
            colors=[colour(shown.name(i))[::-1] for i in range(len(shown))],
        )
        recording.log(f"camera/{name}", drawn)
    for name, mask in packet.scene.of(Mask):
        recording.log(f"camera/{name}", rerun.SegmentationImage(mask.full))
    for name, values in packet.scene.of(Map):
        if values.small.ndim == 2:
            recording.log(f"camera/{name}", rerun.DepthImage(values.full))
    lanes = packet.road.lanes if packet.road is not None else []
    inks = [EGO_COLOUR[::-1] if lane.is_ego else colour(lane.category)[::-1] for lane in lanes]
    strips = rerun.LineStrips2D([lane.points for lane in lanes], colors=inks)
    recording.log("camera/lanes", strips)
    for name, labels in packet.scene.of(Labels):
        text = ", ".join(f"{label} {share:.2f}" for label, share in labels.best().values())
        recording.log(name, rerun.TextLog(text))
