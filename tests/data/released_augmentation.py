"""What the released training configurations do to a sample, written from their files. Imports nothing of farl_hf.

Sources, by file and line:

- FaRL: github.com/FacePerceiver/FaRL at 3fb4694, `farl/`;
- bp: py-blueprint 0.0.1.post3 on PyPI, `blueprint/ml/augmenters/`.

A picture is (H, W, 3) float64 in [0, 1] on the canvas: 512 pixels in all configurations (FaRL
experiments/face_alignment/augmenters/train.yaml, line 11). On a smaller canvas, pass a `blur` larger by as much.
"""

import cv2
import numpy as np
import torch


def occlusion(picture, rng):
    """bp image.py, lines 346-366: height 0.2 to 0.8 of half the canvas, width within 0.2 of it, both ends painted."""
    side = len(picture)
    tall = 0.2 + 0.6 * rng.random()
    wide = tall + 0.4 * rng.random() - 0.2
    middle_x, middle_y = np.int64((side - 1) * rng.random(2))
    reach_y, reach_x = int(side / 2 * tall) // 2, int(side / 2 * wide) // 2
    y, x = np.mgrid[:side, :side]
    inside = (abs(y - middle_y) <= reach_y) & (abs(x - middle_x) <= reach_x)
    return np.where(inside[..., None], 0.0, picture)


def noise(picture, rng):
    """bp image.py, lines 369-379: up to half of the picture becomes uniform noise, another value in each channel."""
    share = rng.random() / 2
    return picture + share * (rng.random(picture.shape) - picture)


def gray(picture, rng):
    """bp image.py, lines 150-158; the weights of OpenCV's RGB2GRAY."""
    if rng.random() >= 0.1:
        return picture
    return np.repeat((picture @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)


def gamma(picture, rng):
    """bp image.py, lines 165-174: root, nothing or square."""
    return np.clip(picture, 0, 1) ** rng.choice([0.5, 1.0, 2.0])


def box_blur(picture, rng, blur=0.01):
    """bp image.py, lines 181-192: a box whose side is drawn as a part of the canvas and cut to whole pixels."""
    side = int(len(picture) * rng.uniform(0, blur))
    # bp image.py, line 56: pictures are float32, whose running sums leave black exactly black.
    return cv2.blur(picture.astype(np.float32), (side, side)) if side >= 2 else picture.astype(np.float32)


def landmark_colors(picture, rng, blur=0.01):
    """FaRL experiments/face_alignment/augmenters/train.yaml, lines 47-54; `Maybe` is bp basic.py, lines 381-395."""
    picture = occlusion(picture, rng)
    if rng.random() <= 0.5:
        picture = noise(picture, rng)
    return box_blur(gamma(gray(picture, rng), rng), rng, blur)


def parsing_colors(picture, rng, blur=0.01):
    """FaRL experiments/face_parsing/augmenters/lapa/train.yaml, lines 60-62, and celebm/train.yaml, lines 58-60."""
    return box_blur(gamma(gray(picture, rng), rng), rng, blur)


def network_input(picture, side):
    """FaRL network/transformers.py, lines 137-139: the network reduces the canvas itself, without smoothing."""
    planes = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    reduced = torch.nn.functional.interpolate(planes, (side, side), mode="bilinear", align_corners=False)
    return reduced[0].permute(1, 2, 0).numpy()


def landmark_motion(rng, canvas, scale_mu):
    """Shift (2,) in canvas pixels, angle in radians and scale.

    FaRL experiments/face_alignment/augmenters/train.yaml, lines 15-24; the amounts from trainers/ibug300w_farl.yaml,
    lines 27-28 (wflw_farl.yaml and aflw19_farl.yaml: the same but for scale_mu); bp transform.py, lines 200-221.
    """
    return (
        rng.uniform(-0.05, 0.05, 2) * canvas,
        rng.uniform(-0.174, 0.174),
        rng.uniform(scale_mu - 0.1, scale_mu + 0.1),
    )


def parsing_motion(rng, canvas):
    """FaRL experiments/face_parsing/augmenters/lapa/train.yaml, lines 15-22: only the shift is uniform."""
    return rng.uniform(-0.01, 0.01, 2) * canvas, rng.normal(0.0, 0.314), rng.normal(1.0, 0.1)


def statistics(picture):
    """Whether a picture has an exactly black pixel, their share, and what it looks like on the whole."""
    black = (picture == 0).all(axis=2)
    return {
        "has_black": float(black.any()),
        "black_area": black.mean(),
        "roughness": np.abs(np.diff(picture, axis=1)).mean(),  # between neighbours in a row
        "mean": picture.mean(),
        "deviation": picture.std(),
        "colorfulness": np.abs(picture[..., 0] - picture[..., 2]).mean(),
    }
