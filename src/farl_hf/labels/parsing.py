"""The classes of face parsing: names, colours, mirror pairs and id orders of LaPa and CelebAMask-HQ.

Left and right are the image's: class 2 of LaPa is the eyebrow on the left of the picture (the person's right one).
"""

import colorsys

# The eleven classes of LaPa (JDAI-CV/lapa-dataset), in the order of the ids in its label pictures. FaRL and facer give
# the ids 2 to 5 opposite names (FaRL:farl/experiments/face_parsing/scorers/lapa.yaml, lines 10-13; pyfacer 0.0.5,
# facer/face_parsing/farl.py, lines 24-25); the ids agree.
LAPA_LABELS = (
    "background",
    "skin",  # the face with the ears
    "left_eyebrow",
    "right_eyebrow",
    "left_eye",
    "right_eye",
    "nose",
    "upper_lip",
    "inner_mouth",
    "lower_lip",
    "hair",
)

# Class ids that change places when the picture is mirrored.
LAPA_MIRROR_PAIRS = ((2, 3), (4, 5))

# The nineteen classes of CelebAMask-HQ, in the two id orders that are in use.
#
# `CELEBAMASK_LABELS` is FaRL's order (FaRL:farl/datasets/celebamask_hq.py, lines 85-95) and the one of its
# released weights (facer/face_parsing/farl.py, lines 38-41).
# `CELEBAMASK_DATASET_LABELS` is the order of the dataset's own script (switchablenorms/CelebAMask-HQ, g_mask).
# The orders cannot be mixed: `CELEBAMASK_FROM_DATASET[id_in_dataset_order]` gives FaRL's id.
#
# The files of the dataset are named from the person's side, so `l_brow` is the right eyebrow here; FaRL's own short
# names (rr, rb, re for the files l_ear, l_brow, l_eye; the same lines) say the same.

# (name, suffix of the mask file, RGB), in FaRL's order; where masks overlap, the later one wins. Colours of parts that
# touch each other differ for colour-blind eyes, too.
_CLASSES = (
    ("background", None, (0, 0, 0)),
    ("neck", "neck", (190, 160, 140)),
    ("skin", "skin", (250, 215, 160)),
    ("cloth", "cloth", (155, 155, 160)),
    ("right_ear", "l_ear", (245, 145, 80)),
    ("left_ear", "r_ear", (180, 115, 130)),
    ("right_eyebrow", "l_brow", (195, 150, 255)),
    ("left_eyebrow", "r_brow", (165, 95, 255)),
    ("right_eye", "l_eye", (160, 235, 20)),
    ("left_eye", "r_eye", (25, 185, 145)),
    ("nose", "nose", (225, 135, 45)),
    ("inner_mouth", "mouth", (140, 25, 65)),
    ("lower_lip", "l_lip", (255, 110, 170)),
    ("upper_lip", "u_lip", (225, 65, 90)),
    ("hair", "hair", (65, 120, 165)),
    ("glasses", "eye_g", (90, 230, 240)),
    ("hat", "hat", (205, 15, 135)),
    ("earring", "ear_r", (255, 250, 75)),
    ("necklace", "neck_l", (235, 235, 200)),
)

# The dataset's own ids 1 to 18, by the suffix of the mask file.
# fmt: off
_DATASET_SUFFIXES = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)
# fmt: on

CELEBAMASK_LABELS = tuple(name for name, _, _ in _CLASSES)
CELEBAMASK_FILE_SUFFIXES = tuple(suffix for _, suffix, _ in _CLASSES)
CELEBAMASK_PALETTE = tuple(colour for _, _, colour in _CLASSES)
CELEBAMASK_MIRROR_PAIRS = ((4, 5), (6, 7), (8, 9))

CELEBAMASK_FROM_DATASET = (0, *(CELEBAMASK_FILE_SUFFIXES.index(suffix) for suffix in _DATASET_SUFFIXES))
CELEBAMASK_DATASET_LABELS = tuple(CELEBAMASK_LABELS[index] for index in CELEBAMASK_FROM_DATASET)
CELEBAMASK_DATASET_MIRROR_PAIRS = ((4, 5), (6, 7), (8, 9))  # eyes, eyebrows, ears

# RGB, one colour per class id. A part keeps its colour in every label set. Black is background and never drawn.
_COLOUR_OF_NAME = dict(zip(CELEBAMASK_LABELS, CELEBAMASK_PALETTE, strict=True))
LAPA_PALETTE = tuple(_COLOUR_OF_NAME[name] for name in LAPA_LABELS)

# Successive hues this far apart on the colour wheel never come close to each other (the golden ratio).
_HUE_STEP = 0.618034


def palette_for(label_names: tuple[str, ...] | list[str]) -> tuple[tuple[int, int, int], ...]:
    """One RGB colour (0..255) per class name: the known colour of a known part, else a hue of its own.

    Args:
        label_names (`Sequence[str]`): Class names in id order; id 0 is the background.
    """
    return tuple(_COLOUR_OF_NAME.get(name) or _spread_colour(index) for index, name in enumerate(label_names))


def _spread_colour(index: int) -> tuple[int, int, int]:
    if index == 0:
        return (0, 0, 0)
    red, green, blue = colorsys.hsv_to_rgb(index * _HUE_STEP % 1.0, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
