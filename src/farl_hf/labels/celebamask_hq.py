"""The nineteen classes of CelebAMask-HQ, in the two id orders that are in use.

`CELEBAMASK_LABELS` is FaRL's order (FaRL:farl/datasets/celebamask_hq.py) and the one of its released weights.
`CELEBAMASK_DATASET_LABELS` is the order of the dataset's own script (switchablenorms/CelebAMask-HQ, g_mask).
A label map in one order is not one in the other: `CELEBAMASK_FROM_DATASET[id_in_dataset_order]` gives FaRL's id.

Left and right are the image's. The files of the dataset are named from the person's side, so `l_brow` is the
right eyebrow here; FaRL's own short names (rr, rb, re for the files l_ear, l_brow, l_eye) say the same.
"""

__all__ = [
    "CELEBAMASK_DATASET_LABELS",
    "CELEBAMASK_DATASET_MIRROR_PAIRS",
    "CELEBAMASK_FILE_SUFFIXES",
    "CELEBAMASK_FROM_DATASET",
    "CELEBAMASK_LABELS",
    "CELEBAMASK_MIRROR_PAIRS",
    "CELEBAMASK_PALETTE",
]

# (name, suffix of the mask file, RGB), in FaRL's order; where masks overlap, the later one wins.
_CLASSES = (
    ("background", None, (0, 0, 0)),
    ("neck", "neck", (205, 165, 125)),
    ("skin", "skin", (255, 205, 110)),
    ("cloth", "cloth", (150, 152, 158)),
    ("right_ear", "l_ear", (240, 150, 110)),
    ("left_ear", "r_ear", (220, 130, 150)),
    ("right_eyebrow", "l_brow", (195, 140, 255)),
    ("left_eyebrow", "r_brow", (150, 90, 230)),
    ("right_eye", "l_eye", (130, 215, 60)),
    ("left_eye", "r_eye", (0, 190, 150)),
    ("nose", "nose", (255, 145, 40)),
    ("inner_mouth", "mouth", (140, 20, 60)),
    ("lower_lip", "l_lip", (255, 115, 170)),
    ("upper_lip", "u_lip", (235, 60, 90)),
    ("hair", "hair", (70, 130, 200)),
    ("glasses", "eye_g", (70, 220, 230)),
    ("hat", "hat", (200, 60, 200)),
    ("earring", "ear_r", (250, 230, 60)),
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
