"""Which landmarks change places when a picture is mirrored. Indices count from 0; points not listed stay themselves.

Sources: HRNet-Facial-Landmark-Detection, lib/utils/transforms.py, for 68, 19 (both stored there counting from 1) and
98 points; the 106 of LaPa follow from the geometry of its layout, no public table exists.
"""

__all__ = ["LANDMARK_MIRROR_PAIRS"]


def _crossed(first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Pairs of a run that is its own mirror image: (first, last), (first + 1, last - 1) …; an odd middle stays."""
    return tuple((first + step, last - step) for step in range((last - first + 1) // 2))


_BROWS_98 = ((33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47))

# fmt: off
LANDMARK_MIRROR_PAIRS = {
    19: (
        *_crossed(0, 5),                                               # eyebrows
        *_crossed(6, 11),                                              # eyes
        (12, 14), (15, 17),                                            # nostrils, mouth corners
    ),
    68: (
        *_crossed(0, 16),                                              # contour
        *_crossed(17, 26),                                             # eyebrows
        *_crossed(31, 35),                                             # nose bottom
        (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),    # eyes
        *_crossed(48, 54), (59, 55), (58, 56),                         # outer lips
        *_crossed(60, 64), (67, 65),                                   # inner lips
    ),
    98: (
        *_crossed(0, 32), *_BROWS_98,
        *_crossed(55, 59),                                             # nose bottom
        (60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73),  # eyes
        *_crossed(76, 82), (87, 83), (86, 84),                         # outer lips
        *_crossed(88, 92), (95, 93),                                   # inner lips
        (96, 97),                                                      # pupils
    ),
    106: (
        *_crossed(0, 32), *_BROWS_98,
        *_crossed(55, 65),                                             # nose bottom
        (66, 79), (67, 78), (68, 77), (69, 76), (70, 75), (71, 82), (72, 81), (73, 80), (74, 83),  # eyes
        *_crossed(84, 90), *_crossed(91, 95),                          # outer lips
        *_crossed(96, 100), *_crossed(101, 103),                       # inner lips
        (104, 105),                                                    # pupils
    ),
}
# fmt: on
