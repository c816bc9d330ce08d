"""Photos of every kind as tensors for image processors: upright, RGB. The type of the values says their range.

Integers of 8 and 16 bits fill the range of their type, booleans are black and white, floating-point values lie in
[0, 1]. Wider integers are 0 to 255. Nothing is guessed from the values: a dark picture stays dark.

Also the checks of numbers among the settings and arguments of image processors.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import PILImageResampling

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FLOAT_MARGIN = 0.01  # by which interpolation and rounding leave [0, 1]
_PLACES = ("keypoints", "landmarks", "boxes")  # arguments of a call that are data, and no settings
_CHANNEL_AXES = {"channels_first": 0, "channels_last": -1}


class PhotoTensorBackend(TorchvisionBackend):
    """A base of image processors that take photos as a viewer sees them.

    Floating-point photos are in [0, 1]. `do_rescale=True`, given to a call, says that they are in [0, 255].

    Numbers among the settings may be NumPy's or PyTorch's; they are kept as Python's.

    Raises:
        ValueError: A setting cannot be used, or a call gives one that would change nothing.
    """

    # Setting of Transformers that changes nothing here -> what a call may give nevertheless, and why no other value.
    unused_settings: Mapping[str, tuple[Sequence[Any], str]] = {
        "data_format": (("channels_first",), "pixel_values are channels, height, width"),
        "do_center_crop": ((False,), "no photo is cut around its centre"),
        "crop_size": ((), "no photo is cut around its centre"),
    }

    def __init__(self, **kwargs: Any):
        super().__init__(**_checked_settings(kwargs))

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base class; see there."""
        kwargs = _checked_settings(kwargs)
        for name, (possible, why) in self.unused_settings.items():
            value = kwargs.pop(name, None)
            if value is not None and value not in possible and value != getattr(self, name, None):
                raise ValueError(f"{name}={in_short(value)} cannot be used: {why}.")
        if kwargs.get("do_rescale") is True:
            images = floats_by_255(images)
        return super().preprocess(images, *args, **kwargs)

    def fetch_images(self, images: Any, most_lists: int = 2) -> Any:
        """The pictures as they are. The base class would open names and addresses, with no limits.

        Raises:
            ValueError: Something is no picture, or has a shape of none.
        """
        if isinstance(images, list | tuple):
            if not most_lists:
                raise ValueError("Pictures lie in lists of lists of lists; expected a picture, or a list of them.")
            return [self.fetch_images(image, most_lists - 1) for image in images]
        check_picture(images)
        return images

    def _prepare_images_structure(self, images, expected_ndims=3):
        # Grey pictures without a channel axis: the base class takes a bare one for a list of rows.
        if isinstance(images, list | tuple):
            images = [add_channel_axis(image) for image in images]
        else:
            images = add_channel_axis(images)
        return super()._prepare_images_structure(images, expected_ndims=expected_ndims)

    def process_image(
        self,
        image: Any,
        do_convert_rgb: bool | None = None,
        input_data_format: Any = None,
        device: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One photo as a tensor (C, H, W), upright: uint8, or floating point in [0, 1].

        Raises:
            ValueError: Values of its type are none of a photo, or `input_data_format` is not that of its shape.
        """
        if isinstance(image, Image.Image):
            image, input_data_format = pil_values(image), "channels_last"
        if isinstance(image, np.ndarray):
            if input_data_format is None and image.ndim == 3 and image.shape[-1] in (1, 3, 4):
                # NumPy pictures are height, width, channels: the base class reads tiny ones the other way round.
                input_data_format = "channels_last"
            image = tensor_of(image)
        if isinstance(image, torch.Tensor):
            image = photo_values(image)
            axis = _CHANNEL_AXES.get(getattr(input_data_format, "value", input_data_format))
            if axis is not None and image.ndim == 3 and image.shape[axis] not in (1, 3, 4):
                raise ValueError(
                    f"A picture of shape {tuple(image.shape)} has {image.shape[axis]} channels by input_data_format="
                    f"{in_short(input_data_format)}; expected 1, 3 or 4."
                )
        return super().process_image(
            image, do_convert_rgb=do_convert_rgb, input_data_format=input_data_format, device=device
        )


def _checked_settings(given):
    """Return settings with plain numbers; a ValueError says which one cannot be used."""
    settings = {name: value if name in _PLACES else plain_numbers(value) for name, value in given.items()}
    for name, value in settings.items():
        if name.startswith("do_") and not (value is None or isinstance(value, bool)):
            raise ValueError(f"{name}={in_short(value)} cannot be used; expected True or False.")
    size, factor, resample, layout = map(settings.get, ("size", "rescale_factor", "resample", "input_data_format"))
    if isinstance(size, list | tuple) and len(size) != 2:  # Transformers would take the first two
        raise ValueError(f"size={in_short(size)}; expected one number, or height and width of the crop.")
    if factor is not None:
        check_number("rescale_factor", factor, -1e6, 1e6)
        if factor == 0:
            raise ValueError("rescale_factor=0 would make every picture black; expected a number such as 1 / 255.")
        settings["rescale_factor"] = float(factor)
    if isinstance(resample, int | float | str) and resample not in list(PILImageResampling):
        raise ValueError(f"resample={in_short(resample)} cannot be used; expected one of PIL's filters.")
    if layout is not None and layout not in _CHANNEL_AXES:
        raise ValueError(
            f"input_data_format={in_short(layout)} cannot be used; expected one of {list(_CHANNEL_AXES)}."
        )
    return settings


def plain_numbers(setting: Any) -> Any:
    """A setting with numbers of NumPy and PyTorch, also inside it, as Python's: settings are stored as JSON."""
    if hasattr(setting, "tolist"):
        return setting.tolist()
    if isinstance(setting, dict):
        return {name: plain_numbers(value) for name, value in setting.items()}
    return type(setting)(map(plain_numbers, setting)) if type(setting) in (list, tuple) else setting


def check_picture(image: Any) -> None:
    """Raises a ValueError unless this is a PIL image, or an array or tensor of a picture's shape (or a batch)."""
    if isinstance(image, Image.Image):
        return
    if not isinstance(image, np.ndarray | torch.Tensor):
        kind = "a text" if isinstance(image, str) else f"of type {type(image).__name__}"
        raise ValueError(
            f"A picture is {kind}: {in_short(image)}; expected a PIL image, an array or a tensor. Open files and "
            "addresses first, for example by PIL.Image.open."
        )
    if isinstance(image, torch.Tensor) and not has_plain_values(image):
        raise ValueError(f"A picture is a tensor without plain values ({image.layout}, {image.device}).")
    shape = tuple(image.shape)
    if len(shape) not in (2, 3, 4) or (len(shape) > 2 and not {shape[-3], shape[-1]} & {1, 3, 4}):
        raise ValueError(
            f"A picture has shape {shape}; expected (height, width), (height, width, channels) or (channels, height, "
            "width) with 1, 3 or 4 channels."
        )


def has_plain_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor is no sparse, nested, quantised or meta one."""
    return not (tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta or tensor.is_quantized)


def floats_by_255(images: Any) -> Any:
    """The same photos, alone or in lists; floating-point values of [0, 255] are divided by 255."""
    if isinstance(images, list | tuple):
        return [floats_by_255(image) for image in images]
    if isinstance(images, Image.Image) and images.mode == "F":
        return pil_values(images) / 255
    if isinstance(images, np.ndarray) and images.dtype.kind == "f":
        return images / np.float32(255)  # which widens 16 bits
    return wide(images) / 255 if torch.is_tensor(images) and images.is_floating_point() else images


def wide(image: torch.Tensor) -> torch.Tensor:
    """Floating-point values in 32 bits or more; PyTorch computes little with fewer, and next to nothing with 8."""
    return image.float() if image.dtype.itemsize < 4 else image


def add_channel_axis(image: Any) -> Any:
    """A grey NumPy array or tensor (H, W) as (H, W, 1) or (1, H, W); anything else unchanged."""
    if isinstance(image, np.ndarray) and image.ndim == 2:
        return image[:, :, None]
    if isinstance(image, torch.Tensor) and image.ndim == 2:
        return image[None]
    return image


def pil_values(picture: Image.Image) -> np.ndarray:
    """(H, W, channels) values of a picture, turned as its EXIF tag says; grey of 16 bits and floats as they are."""
    if 0 in picture.size:
        return np.zeros((picture.height, picture.width, 3), np.uint8)
    if picture.format == "EPS":
        raise ValueError("A picture is a PostScript program, which is not run; save it as PNG or JPEG.")
    try:
        picture.load()
    except Exception as error:  # damaged files make decoders raise almost anything
        raise ValueError(f"A picture cannot be decoded: {error}") from error
    try:
        turn = _UPRIGHT.get(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # cut and foreign blocks make Pillow raise almost anything; the pixels are sound
        turn = None
    if picture.format == "TIFF":  # Pillow turns it while it is decoded
        turn = None
    picture = picture if turn is None else picture.transpose(turn)
    if picture.mode.startswith("I"):  # "I" is what Pillow makes of 16-bit files, too
        values = np.asarray(picture)[..., None]
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"A grey picture has values from {values.min()} to {values.max()}; expected 0 to 65535.")
        return values.astype(np.uint16)
    if picture.mode == "F":
        return np.asarray(picture)[..., None]
    picture = picture.convert("LA") if picture.mode == "La" else picture
    return np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """A tensor of the same values; PyTorch takes no views that run backwards and no foreign byte order."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"A photo has values of type {array.dtype}; expected integers, booleans or floats.")
    long_double = array.dtype.kind == "f" and array.dtype.itemsize > 8  # unknown to PyTorch
    array = np.ascontiguousarray(array, np.float64 if long_double else array.dtype.newbyteorder("="))
    # An axis of one entry may still run backwards.
    plain = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if plain else array.copy("C"))


def photo_values(image: torch.Tensor) -> torch.Tensor:
    """Values of any type as uint8, or as floating point in [0, 1]; gradients pass.

    Raises:
        ValueError: They are beyond what their type holds for a photo.
    """
    if image.dtype == torch.uint8 or image.numel() == 0:
        return image
    if image.dtype == torch.bool:
        return image.to(torch.uint8) * 255
    if image.dtype == torch.uint16:
        return image.float() / 65535
    if image.is_complex():
        raise ValueError("A photo has complex values; expected integers, booleans or floats.")
    if not image.is_floating_point():
        low, high = _range(image.long())
        if low < 0 or high > 255:
            raise ValueError(f"A photo of type {image.dtype} has values from {low} to {high}; expected 0 to 255.")
        return image.to(torch.uint8)
    image = wide(image)
    low, high = _range(image.detach())
    if not -_FLOAT_MARGIN <= low <= high <= 1 + _FLOAT_MARGIN:
        raise ValueError(
            f"A photo of type {image.dtype} has values from {low:g} to {high:g}; expected finite values within [0, 1]."
            " Pass do_rescale=True for values in [0, 255], or convert to uint8."
        )
    return image if low >= 0 and high <= 1 else image.clamp(0, 1)


def _range(values: torch.Tensor) -> Sequence[Any]:
    low, high = values.aminmax()  # NaN if there is one
    return low.item(), high.item()


def in_short(value: Any) -> str:
    """The beginning of a value, on one line, for errors."""
    return " ".join(repr(value).split())[:100]


def check_number(name, value, least, most, whole=False):
    """Raises a ValueError unless a value is a finite number in its range; `least` and `most` are allowed."""
    number = hasattr(value, "__index__" if whole else "__float__") and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise ValueError(f"{name}={in_short(value)} cannot be used; expected {kind} from {least:g} to {most:g}.")


def check_pixel_normalisation(mean, std):
    """Raises a ValueError unless mean and deviation are one number per channel (or one), and no deviation is 0."""
    for name, values, least in (("image_mean", mean, -1e4), ("image_std", std, 1e-6)):
        values = list(values) if isinstance(values, list | tuple) else [values] * 3
        if len(values) not in (3, 4):
            raise ValueError(f"{name}={in_short(values)} has {len(values)} numbers; expected one per channel.")
        for value in values:
            check_number(name, value, least, 1e4)
