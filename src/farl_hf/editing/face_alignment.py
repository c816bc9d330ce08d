"""The faces in a generator's pictures as network inputs, through the differentiable alignment of `processing`."""

import torch
from PIL import Image

from farl_hf.errors import InvalidFaceInputError
from farl_hf.retrieval.face_embedding import FaceCutter


class FaceAlignment:
    """The alignment of the faces in some pictures. It is computed once, and kept while the pictures change.

    Args:
        cutter ([`FaceCutter`]): Makes the crops that the model expects.
        images (`torch.Tensor` of shape `(N, 3, H, W)`): RGB in [0, 1], one face each.
        points5_xy (`torch.Tensor` of shape `(5, 2)`, *optional*): Where the five points are in every picture.

    Raises:
        InvalidFaceInputError: If no face is found in a picture.
    """

    def __init__(self, cutter: FaceCutter, images: torch.Tensor, points5_xy: torch.Tensor | None = None) -> None:
        self._image_processor = cutter.image_processor
        self.crop_from_photo = torch.stack(
            [_crop_from_photo(cutter, image, points5_xy, number) for number, image in enumerate(images)]
        )

    def __call__(self, images: torch.Tensor, moved_from_crop: torch.Tensor | None = None) -> torch.Tensor:
        """Normalised crops (N, 3, h, w) of pictures (N, 3, H, W) in [0, 1], differentiable with respect to them.

        `moved_from_crop` (3, 3) moves all crops alike.
        """
        matrices = self.crop_from_photo if moved_from_crop is None else moved_from_crop @ self.crop_from_photo
        warp = self._image_processor.warp
        crops = [warp(image, matrix[None]) for image, matrix in zip(images, matrices, strict=True)]
        return self._image_processor.normalize(torch.cat(crops))

    def random_motion(self, noise: float, random: torch.Generator) -> torch.Tensor:
        """A matrix (3, 3) that scales a crop about its centre and shifts it, by normal amounts.

        Args:
            noise (`float`): Deviation of the scale from 1, and of the shift as a share of the crop's sides.
            random (`torch.Generator`): Source of chance.
        """
        size_xy = torch.tensor(self._image_processor.size_hw[::-1], dtype=torch.float32)
        drawn = noise * torch.randn(3, generator=random)
        matrix = torch.eye(3)
        matrix[0, 0] = matrix[1, 1] = scale = 1 + drawn[0]
        matrix[:2, 2] = size_xy * ((1 - scale) / 2 + drawn[1:])
        return matrix


def _crop_from_photo(
    cutter: FaceCutter, image: torch.Tensor, points5_xy: torch.Tensor | None, number: int
) -> torch.Tensor:
    bytes_HWC = (image.detach().cpu().float().permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    photo = Image.fromarray(bytes_HWC)
    if points5_xy is None or cutter.aligned:
        crops = cutter(photo)
    else:
        crops = cutter({"image": photo, "keypoints": points5_xy.cpu().numpy()[None]})
    if len(crops.faces) == 0:
        raise InvalidFaceInputError(
            f"No face was found in picture {number} of the generator; start from another latent, or pass aligned=True "
            "if every picture is a face crop."
        )
    return crops.crop_from_photo[0]
