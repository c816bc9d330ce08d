"""The colours of drawings (RGB, 0..255), chosen to be told apart on skin and on most backgrounds."""

__all__ = ["FACE_COLOURS", "INK", "KEYPOINT_COLOURS", "LANDMARK_COLOURS", "PAPER"]

PAPER = (250, 250, 248)
INK = (35, 38, 45)

# One after the other for the faces of a photo.
FACE_COLOURS = (
    (0, 190, 255),
    (255, 176, 0),
    (120, 220, 80),
    (255, 90, 130),
    (170, 130, 255),
    (0, 210, 180),
)

# In the order of `labels.FIVE_POINTS`.
KEYPOINT_COLOURS = ((0, 210, 255), (120, 230, 90), (255, 190, 40), (255, 95, 125), (200, 120, 255))

# By name of the group in `labels.LANDMARK_GROUPS`; groups not listed take the last colour.
LANDMARK_COLOURS = {
    "contour": (120, 200, 255),
    "left_eyebrow": (180, 150, 255),
    "right_eyebrow": (180, 150, 255),
    "nose": (255, 200, 60),
    "nose_bridge": (255, 200, 60),
    "nose_bottom": (255, 200, 60),
    "left_eye": (90, 230, 160),
    "right_eye": (90, 230, 160),
    "mouth": (255, 105, 140),
    "outer_lips": (255, 105, 140),
    "inner_lips": (255, 160, 180),
    "other": (255, 255, 255),
}
