"""Class names of BDD100K and of the other datasets, in the order of their labels."""

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
# The 13 classes of Couprie et al. (2013), as the preprocessed NYUv2 numbers them.
NYUV2: Final = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa",
    "table", "tv", "wall", "window",
)  # fmt: skip
VOC_OBJECTS: Final = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
VOC: Final = ("background", *VOC_OBJECTS)
# The 80 classes of COCO by rising category id.
COCO: Final = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
# The first synonym of each class of the scene parsing benchmark; label files count from 1.
ADE20K: Final = (
    "wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass",
    "cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain",
    "chair", "car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field",
    "armchair", "seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing",
    "cushion", "base", "box", "column", "signboard", "chest of drawers", "counter", "sand", "sink",
    "skyscraper", "fireplace", "refrigerator", "grandstand", "path", "stairs", "runway", "case",
    "pool table", "pillow", "screen door", "stairway", "river", "bridge", "bookcase", "blind",
    "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove", "palm",
    "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus",
    "towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth",
    "television receiver", "airplane", "dirt track", "apparel", "pole", "land", "bannister",
    "escalator", "ottoman", "bottle", "buffet", "poster", "stage", "van", "ship", "fountain",
    "conveyer belt", "canopy", "washer", "plaything", "swimming pool", "stool", "barrel", "basket",
    "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food", "step", "tank",
    "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher", "screen",
    "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan",
    "pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass",
    "clock", "flag",
)  # fmt: skip

# The lane byte: category in bits 0-2, background bit 3, style bit 4, direction bit 5.
LANE_CATEGORY_BITS: Final = 7
LANE_BACKGROUND_BIT: Final = 8
LANE_STYLE_SHIFT: Final = 4
LANE_DIRECTION_SHIFT: Final = 5
LANE_STYLE_BIT: Final = 1 << LANE_STYLE_SHIFT
LANE_DIRECTION_BIT: Final = 1 << LANE_DIRECTION_SHIFT
LANE_BACKGROUND: Final = 255
# Only in training labels; no official file contains them.
LANE_IGNORE: Final = 254
LANE_CATEGORY_UNKNOWN: Final = 64
LANE_TYPE_UNKNOWN: Final = 128
IGNORE: Final = 255

# The tasks whose labels the outputs of other published networks are scored with.
PEER_OUTPUTS: Final = {"boxes": "det", "area": "drivable", "line": "lane"}
