"""One decision of a network changed: `NAME~VARIANT` wherever a model is named.

Ablations compare them with the network as it is (study-mtl ablation).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from perception.tasks.det import Design, Det
from perception.tasks.det_anchor import AnchorDet
from perception.tasks.lane import Lane
from perception.tasks.nearest import NearestDrivable, NearestLane


class OneHeadDet(Det):
    """No one-to-many teacher: the one-to-one head learns alone. Its measure is `one-to-one`."""

    design: ClassVar[Design] = Design(many_weight=0.0, deployed="one")


class OneToOneDet(Det):
    """The one-to-one scores are deployed, as in YOLOv10."""

    design: ClassVar[Design] = Design(deployed="one")


class DetachedDet(Det):
    """The one-to-one scores leave trunk and neck to the one-to-many ones (YOLOv10). Its measure is
    `one-to-one`."""

    design: ClassVar[Design] = Design(detach_one=True, deployed="one")


class DirectDet(Det):
    """Four numbers a box, without distributions over their values."""

    design: ClassVar[Design] = Design(bins=0)


class StrictDet(Det):
    """Assignment that trusts the overlap more (TOOD, arXiv 2108.07755: score^0.5 IoU^6)."""

    design: ClassVar[Design] = Design(alpha=0.5, beta=6.0)


class FewDet(Det):
    """Four points a box in the one-to-many assignment."""

    design: ClassVar[Design] = Design(topk=4)


class FineDet(Det):
    """As heavy a tower at stride 4 as elsewhere, for the smallest objects."""

    design: ClassVar[Design] = Design(fine_width=1.0, fine_blocks=2)


class EqualDet(Det):
    """Rare classes weigh no more than frequent ones."""

    design: ClassVar[Design] = Design(rarity=0.0)


class FocalLane(Lane):
    """Without the loss on the overlap."""

    overlap_weight: ClassVar[float] = 0.0


class CentrelineLane(Lane):
    """With clDice beside the overlap."""

    centreline_weight: ClassVar[float] = 0.5


VARIANTS: Final[dict[str, Mapping[str, Any]]] = {
    "pan": {"neck": "pan"},
    "anchors": {"heads": {"det": AnchorDet}},
    "one-head": {"heads": {"det": OneHeadDet}},
    "one-to-one": {"heads": {"det": OneToOneDet}},
    "detached": {"heads": {"det": DetachedDet}},
    "direct": {"heads": {"det": DirectDet}},
    "strict": {"heads": {"det": StrictDet}},
    "few": {"heads": {"det": FewDet}},
    "fine": {"heads": {"det": FineDet}},
    "equal-classes": {"heads": {"det": EqualDet}},
    "lane-focal": {"heads": {"lane": FocalLane}},
    "lane-cldice": {"heads": {"lane": CentrelineLane}},
    "nearest": {"heads": {"drivable": NearestDrivable, "lane": NearestLane}},
}
