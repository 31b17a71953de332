"""perceive --rerun: everything in the Rerun viewer or an .rrd file, on the source's timeline."""

import threading
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import cv2
import rerun

from demo.channel import Channel
from demo.overlay import EGO_COLOUR
from demo.pipeline import Packet
from demo.show import display_there
from demo.spare import Stacked, spared
from perception.errors import UserError
from perception.runtime.colours import colour
from perception.runtime.scene import Boxes, Labels, Map, Mask

TIMELINE = "video"
PATIENCE_S = 5.0  # for the viewer to take the last frames


class RerunViewer(AbstractContextManager["RerunViewer"]):
    """Opens the viewer and shows it the newest frame whenever it has taken the one before, so that
    a slow viewer holds up nothing."""

    def __init__(self, title: str, score: float) -> None:
        if not display_there():
            raise UserError(
                "--rerun: the viewer needs a display and there is none; give a FILE.rrd"
            )
        self.recording, self.score = named(title), score
        self.newest: Channel[Packet] = Channel(1, newest=True)
        self.thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> "RerunViewer":
        try:
            self.recording.spawn()
        except Exception as error:  # the library's own, of several types
            raise UserError(
                f"--rerun: the viewer does not start ({error}); give FILE.rrd"
            ) from None
        self.thread.start()
        return self

    def write(self, packet: Packet) -> None:
        """Replaces what the viewer gets next."""
        self.newest.put(packet)

    def _send(self) -> None:
        for packet in self.newest:
            log(self.recording, packet, self.score)
            self.recording.flush()  # waits for the viewer, so that nothing piles up here

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.newest.end()
        self.thread.join(PATIENCE_S)


class RerunFile(Stacked):
    """Every frame in an .rrd file. It appears, whole, when the sink is closed without an error,
    and as far as it goes when the disk is full."""

    def __init__(self, path: Path, title: str, score: float) -> None:
        super().__init__()
        self.path, self.score = path, score
        self.recording = named(title)

    def __enter__(self) -> "RerunFile":
        self.file = self.stack.enter_context(spared(self.path))
        self.recording.save(self.file.part)
        self.stack.callback(self.recording.disconnect)  # which completes the file
        return self

    def write(self, packet: Packet) -> None:
        """Appends a frame. Raises DiskFullError where the disk is full."""
        log(self.recording, packet, self.score)
        self.file.look()
        self.file.check()


def named(title: str) -> rerun.RecordingStream:
    """A new recording that the viewer lists under this title."""
    recording = rerun.RecordingStream("perceive")
    recording.send_recording_name(title)
    return recording


def log(recording: rerun.RecordingStream, packet: Packet, score: float) -> None:
    """One frame: picture, boxes, own lane, masks as class images, maps as depth, labels as text."""
    assert packet.scene is not None
    recording.set_time(TIMELINE, duration=packet.frame.seconds)
    rgb = cv2.cvtColor(packet.frame.image, cv2.COLOR_BGR2RGB)
    recording.log("camera", rerun.Image(rgb).compress(jpeg_quality=85))
    for name, boxes in packet.scene.of(Boxes):
        recording.log(f"camera/{name}", _shapes(boxes.above(score)))
    for name, mask in packet.scene.of(Mask):
        recording.log(f"camera/{name}", rerun.SegmentationImage(mask.full))
    for name, values in packet.scene.of(Map):
        if values.small.ndim == 2:
            recording.log(f"camera/{name}", rerun.DepthImage(values.full))
    lane = rerun.LineStrips2D(list(packet.ego.values()), colors=[EGO_COLOUR[::-1]])
    recording.log("camera/own_lane", lane)
    for name, labels in packet.scene.of(Labels):
        text = ", ".join(f"{label} {share:.2f}" for label, share in labels.best().values())
        recording.log(name, rerun.TextLog(text))


def _shapes(boxes: Boxes) -> rerun.Boxes2D:
    names = []
    for i in range(len(boxes)):
        names.append(f"{boxes.name(i)} {100 * boxes.scores[i]:.0f}")
        if boxes.track_ids is not None and boxes.track_ids[i] >= 0:
            names[-1] += f" #{boxes.track_ids[i]}"
    return rerun.Boxes2D(
        array=boxes.xyxy,
        array_format=rerun.Box2DFormat.XYXY,
        labels=names,
        colors=[colour(boxes.name(i))[::-1] for i in range(len(boxes))],
    )
