"""perceive --rerun: everything in the Rerun viewer, on the source's timeline."""

import cv2
import rerun

from demo.pipeline import Packet
from perception.runtime.scene import Boxes, Labels, Mask


class RerunSink:
    """Opens the viewer and logs every packet to it."""

    def __init__(self, title: str) -> None:
        rerun.init(f"perceive {title}", spawn=True)

    def write(self, packet: Packet) -> None:
        """Logs a frame: picture, boxes, masks as class images, labels as text."""
        assert packet.scene is not None
        rerun.set_time("video", duration=packet.frame.seconds)
        rgb = cv2.cvtColor(packet.frame.image, cv2.COLOR_BGR2RGB)
        rerun.log("camera", rerun.Image(rgb).compress(jpeg_quality=85))
        for name, boxes in packet.scene.of(Boxes):
            names = [boxes.name(i) for i in range(len(boxes))]
            shape = rerun.Boxes2D(
                array=boxes.xyxy, array_format=rerun.Box2DFormat.XYXY, labels=names
            )
            rerun.log(f"camera/{name}", shape)
        for name, mask in packet.scene.of(Mask):
            rerun.log(f"camera/{name}", rerun.SegmentationImage(mask.full))
        for name, labels in packet.scene.of(Labels):
            text = ", ".join(f"{label} {share:.2f}" for label, share in labels.best().values())
            rerun.log(name, rerun.TextLog(text))
