"""The eleven classes of LaPa (JDAI-CV/lapa-dataset), in the order of the ids in its label pictures.

Left and right are the image's: class 2 is the eyebrow that lies on the left of the picture (the person's right one).
FaRL and facer name the ids 2 to 5 oppositely to each other; the ids agree.
"""

__all__ = ["LAPA_LABELS", "LAPA_MIRROR_PAIRS", "LAPA_PALETTE"]

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

# RGB, one colour per class id. Black stands for background and is never drawn.
LAPA_PALETTE = (
    (0, 0, 0),
    (255, 205, 110),
    (150, 90, 230),
    (195, 140, 255),
    (0, 190, 150),
    (130, 215, 60),
    (255, 145, 40),
    (235, 60, 90),
    (140, 20, 60),
    (255, 115, 170),
    (70, 130, 200),
)

# Class ids that change places when the picture is mirrored.
LAPA_MIRROR_PAIRS = ((2, 3), (4, 5))
