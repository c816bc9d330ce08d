"""Where the five points of a face lie in an aligned crop.

Coordinates are fractions of the half side, (-1, -1) top left and (1, 1) bottom right, in the order image-left eye,
image-right eye, nose tip, image-left mouth corner, image-right mouth corner.
"""

__all__ = ["ATTRIBUTE_TEMPLATE", "LAPA_TEMPLATE"]

# py-blueprint `blueprint/ml/augmenters/face.py` and FacePerceiver/facer `facer/transform.py`: points of a 512 frame,
# stored as p / 256 - 1. Used by the parsers trained on LaPa; looser crops scale it by `face_scale` < 1.
LAPA_TEMPLATE = tuple(
    (x / 256 - 1, y / 256 - 1) for x, y in ((196, 226), (316, 226), (256, 286), (220, 360.4), (292, 360.4))
)

# FacePerceiver/facer `facer/face_attribute/farl.py`: points of a 256 frame, 30 lower, centred in a frame of 500.
ATTRIBUTE_TEMPLATE = tuple(
    ((x - 128 + 250) / 250 - 1, (y + 30 - 128 + 250) / 250 - 1)
    for x, y in (
        (85.82991, 85.7792),
        (169.0532, 84.3381),
        (127.574, 137.0006),
        (90.6964, 174.7014),
        (167.3069, 173.3733),
    )
)
