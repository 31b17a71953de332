"""Class names of BDD100K and Cityscapes in their official order (numpy- and torch-free)."""

from typing import Final

DETECTION: Final = (
    "pedestrian", "rider", "car", "truck", "bus",
    "train", "motorcycle", "bicycle", "traffic light", "traffic sign",
)  # fmt: skip
DRIVABLE: Final = ("direct", "alternative", "background")
LANE_CATEGORIES: Final = (
    "crosswalk", "double other", "double white", "double yellow",
    "road curb", "single other", "single white", "single yellow",
)  # fmt: skip
LANE_STYLES: Final = ("solid", "dashed")
LANE_DIRECTIONS: Final = ("parallel", "vertical")
WEATHER: Final = ("rainy", "snowy", "clear", "overcast", "partly cloudy", "foggy")
SCENE: Final = (
    "tunnel", "residential", "parking lot", "city street", "gas stations", "highway",
)  # fmt: skip
TIME_OF_DAY: Final = ("daytime", "night", "dawn/dusk")
ATTRIBUTES: Final = {"weather": WEATHER, "scene": SCENE, "timeofday": TIME_OF_DAY}
SEMANTIC: Final = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip

# The lane byte: category in bits 0-2, background bit 3, style bit 4, direction bit 5.
LANE_BACKGROUND: Final = 255
# Training labels only: what no official file contains.
LANE_IGNORE: Final = 254
LANE_CATEGORY_UNKNOWN: Final = 64
LANE_TYPE_UNKNOWN: Final = 128
IGNORE: Final = 255
