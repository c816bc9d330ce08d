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
    (255, 200, 160),
    (92, 64, 180),
    (58, 140, 220),
    (0, 176, 140),
    (120, 200, 60),
    (250, 160, 30),
    (225, 60, 90),
    (130, 20, 50),
    (250, 110, 160),
    (150, 90, 50),
)

# Class ids that change places when the picture is mirrored.
LAPA_MIRROR_PAIRS = ((2, 3), (4, 5))
