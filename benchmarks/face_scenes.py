"""Photos with faces at known places, and network outputs that look like those of a face, for benchmarks.

The outputs of random weights are noise. Where the cost of a stage depends on its input, both libraries of a comparison
get the same map added to their outputs: one large region with small parts in it, and background around it.
"""

import numpy as np
import torch

PHOTO_SIZES_HW = {"480p": (480, 854), "1080p": (1080, 1920), "4K": (2160, 3840)}
FACES_PER_ROW = 8
_UNIT_FACE = np.array([[-0.5, -0.4], [0.5, -0.4], [0.0, 0.1], [-0.35, 0.7], [0.35, 0.7]])
_EYE_DISTANCE = 1 / 5  # of the width of a face's place
# centre x, centre y, radius x, radius y in half crops, and height of each class but the background
_PARTS = (
    *((0, 0.1, 0.42, 0.55, 4), (-0.2, -0.12, 0.12, 0.03, 12), (0.2, -0.12, 0.12, 0.03, 12)),
    *((-0.2, -0.02, 0.08, 0.04, 12), (0.2, -0.02, 0.08, 0.04, 12), (0, 0.12, 0.09, 0.15, 8)),
    *((0, 0.33, 0.16, 0.04, 12), (0, 0.37, 0.12, 0.02, 12), (0, 0.41, 0.15, 0.04, 12), (0, -0.1, 0.6, 0.7, 2.5)),
)


def make_photo(size_name: str, seed: int = 0) -> np.ndarray:
    """A photo (H, W, 3), uint8, of smooth colours with some noise."""
    height, width = PHOTO_SIZES_HW[size_name]
    return make_photo_of_size(height, width, seed)


def make_photo_of_size(height: int, width: int, seed: int = 0) -> np.ndarray:
    """The same of any size."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, 3, 9, 16), dtype=np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = torch.from_numpy(rng.normal(0, 0.04, (1, 3, height, width)).astype(np.float32))
    return ((smooth + noise).clamp(0, 1) * 255).byte()[0].permute(1, 2, 0).contiguous().numpy()


def make_points(size_name: str, num_faces: int) -> np.ndarray:
    """Five points (F, 5, 2) of faces that stand in rows all over the photo; their crops lie in the photo."""
    height, width = PHOTO_SIZES_HW[size_name]
    rows = -(-num_faces // FACES_PER_ROW)
    columns = -(-num_faces // rows)
    place = min(width / columns, height / rows)
    centres = [
        ((face % columns + 0.5) * width / columns, (face // columns + 0.5) * height / rows)
        for face in range(num_faces)
    ]
    return (_UNIT_FACE * place * _EYE_DISTANCE + np.array(centres)[:, None]).astype(np.float32)


def face_scores(num_classes: int, side: int) -> torch.Tensor:
    """Class scores (K, side, side) of a face: background, skin, brows, eyes, nose, mouth, hair."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    parts = [torch.full((side, side), 0.3)]
    for centre_x, centre_y, radius_x, radius_y, top in _PARTS[: num_classes - 1]:
        parts.append(top * (1 - torch.sqrt(((x - centre_x) / radius_x) ** 2 + ((y - centre_y) / radius_y) ** 2)))
    return 10 * torch.stack(parts).clamp(min=-4)


def heat_map_scores(num_points: int, side: int) -> torch.Tensor:
    """Heat-map scores (N, side, side) before the sigmoid, one peak each."""
    generator = torch.Generator().manual_seed(0)
    centres = side * (0.25 + 0.5 * torch.rand(num_points, 2, 1, generator=generator))
    cells = torch.arange(side) + 0.5
    squared = (cells - centres[:, 1])[:, :, None] ** 2 + (cells - centres[:, 0])[:, None, :] ** 2
    return (4 - squared / 3).clamp(min=-16)
