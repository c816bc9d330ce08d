"""The pyramid and the UperNet head rearranged for inference: the same sums in a quarter of the arithmetic.

Nothing is approximated. Batch norms are folded into their convolutions; the last transposed convolution of a level is
merged with the 1 x 1 convolution that follows it; a 3 x 3 convolution over concatenated, upsampled maps is computed
map by map, each mixed over its channels at its own resolution and upsampled after that, because bilinear upsampling
acts on every channel alike and so commutes with mixing them; what remains of wide 3 x 3 convolutions is computed by
Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016). Results differ by rounding, 2e-6 relative for
ViT-B/16 at 448 pixels in float32.

Weights are read from the modules of `feature_pyramid_farl` and `uper_head_farl`; nothing is added to the state dict.

Shapes: B batch, C channels of the backbone, K channels of the head, h and w a map, H and W the map it is added to.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, pad

from .linear_farl import matrix_product

__all__ = ["InferenceHead", "can_be_rearranged"]

# Below this width, or on smaller maps, a direct convolution is as fast as Winograd and spares its fourfold weights.
_WINOGRAD_CHANNELS = 256
_WINOGRAD_SIDE = 48
_TILE = 4
# Of a map of the backbone, over the faces that go through the head together.
_NUMBERS_AT_ONCE = 2**19
# Columns are taps -1, 0, 1 of the filter; F(4, 3), interpolation points 0, 1, -1, 2, -2 and infinity.
_FILTER_TRANSFORM = (
    *((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6)),
    *((1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
)
_INPUT_TRANSFORM = (
    *((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0)),
    *((0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
)
_OUTPUT_TRANSFORM = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
_PRECISIONS = (torch.float32, torch.bfloat16)
_PLAIN_MODULES = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)


def can_be_rearranged(*modules):
    """Whether every layer is PyTorch's own, on the CPU in one precision, with its weights at hand.

    Adapters, quantised layers and weights that DeepSpeed has partitioned are left to the modules themselves. On a GPU
    one large convolution is as fast as the rearranged ones; float16 is left alone, too.
    """
    layers = [
        layer for module in modules for layer in module.modules() if next(layer.parameters(False), None) is not None
    ]
    tensors = [tensor for layer in layers for tensor in layer.parameters(False)]
    return (
        all(type(layer) in _PLAIN_MODULES for layer in layers)
        and all(
            tensor.device.type == "cpu" and tensor.dtype == tensors[0].dtype and not hasattr(tensor, "ds_id")
            for tensor in tensors
        )
        and tensors[0].dtype in _PRECISIONS
    )


def _folded(block):
    """Return weight and bias of a convolution with the batch norm that follows it, float32."""
    convolution, norm = block[0], block[1]
    factor, shift = _scale_and_shift(norm)
    return convolution.weight.float() * factor[:, None, None, None], shift


def _scale_and_shift(norm):
    factor = norm.weight.float() / torch.sqrt(norm.running_var.float() + norm.eps)
    return factor, norm.bias.float() - norm.running_mean.float() * factor


class _Lateral:
    """One level of the pyramid and its 1 x 1 convolution: from a map of the backbone to one of the head's width."""

    def __init__(self, level, lateral):
        dtype = lateral[0].weight.dtype
        weight_KC11, bias_K = _folded(lateral)
        steps = list(level) if isinstance(level, nn.Sequential) else [level]
        self.first = _folded_transposed(*steps[:2]) if len(steps) > 1 else None
        self.upsamples = isinstance(steps[-1], nn.ConvTranspose2d)
        if self.upsamples:
            mix_KC = weight_KC11[:, :, 0, 0]
            self.weight = torch.einsum("icyx,kc->ikyx", steps[-1].weight.float(), mix_KC).contiguous().to(dtype)
            self.bias = (mix_KC @ steps[-1].bias.float() + bias_K).to(dtype)
        else:
            self.level, self.weight, self.bias = level, weight_KC11.to(dtype), bias_K.to(dtype)

    def __call__(self, map_BCHW):
        if not self.upsamples:
            return conv2d(self.level(map_BCHW), self.weight, self.bias).relu_()
        if self.first is not None:
            map_BCHW = nn.functional.gelu(conv_transpose2d(map_BCHW, *self.first, stride=2))
        return conv_transpose2d(map_BCHW, self.weight, self.bias, stride=2).relu_()


def _folded_transposed(convolution, norm):
    factor, shift = _scale_and_shift(norm)
    weight = convolution.weight.float() * factor[None, :, None, None]
    bias = convolution.bias.float() * factor + shift
    return weight.to(convolution.weight.dtype), bias.to(convolution.weight.dtype)


class _Convolution3x3:
    """A 3 x 3 convolution without bias, by Winograd where that is faster."""

    def __init__(self, weight_KC33):
        self.weight = weight_KC33.contiguous()
        self.transforms = None  # made when a map is large enough for them

    def __call__(self, map_BCHW):
        if not self._suits_winograd(*map_BCHW.shape[-2:]):
            return conv2d(map_BCHW, self.weight, padding=1)
        if self.transforms is None:
            self.transforms = _winograd_transforms(self.weight)
        return torch.stack([self._one(map_CHW, *self.transforms) for map_CHW in map_BCHW])  # each takes much memory

    def _suits_winograd(self, height, width):
        if self.weight.dtype != torch.float32:  # the transforms cancel digits that shorter numbers do not have
            return False
        wide = min(self.weight.shape[:2]) >= _WINOGRAD_CHANNELS
        return wide and min(height, width) >= _WINOGRAD_SIDE and not height % _TILE and not width % _TILE

    def _one(self, map_CHW, filters, input_transform, output_transform):
        channels, height, width = map_CHW.shape
        rows, columns, side = height // _TILE, width // _TILE, _TILE + 2
        tiles = pad(map_CHW, (1, 1, 1, 1)).unfold(1, side, _TILE).unfold(2, side, _TILE)
        tiles = tiles.permute(3, 4, 0, 1, 2).reshape(side * side, channels * rows * columns)
        tiles = (input_transform @ tiles).view(side * side, channels, -1)
        mixed = torch.stack([matrix_product(*pair) for pair in zip(filters, tiles, strict=True)])
        out = (output_transform @ mixed.flatten(1)).view(_TILE, _TILE, -1, rows, columns)
        return out.permute(2, 3, 0, 4, 1).reshape(-1, height, width)


def _winograd_transforms(weight_KC33):
    """Return filters (36, K, C) and the transforms of input tiles (36, 36) and of output tiles (16, 36)."""
    transform = torch.tensor(_FILTER_TRANSFORM, dtype=torch.float64)
    filters = torch.einsum("ay,bx,kcyx->abkc", transform, transform, weight_KC33.double()).flatten(0, 1)
    tiles = (torch.tensor(rows, dtype=torch.float32) for rows in (_INPUT_TRANSFORM, _OUTPUT_TRANSFORM))
    return filters.float().contiguous(), *(torch.kron(rows, rows) for rows in tiles)


class _UpsampledConvolution3x3:
    """A 3 x 3 convolution of a bilinearly upsampled map that is never formed.

    The nine taps are nine 1 x 1 convolutions at the map's own resolution. Upsampling a row and shifting it by a tap,
    with zeros beyond the border, is one small matrix.
    """

    def __init__(self, weight_KC33):
        self.channels = weight_KC33.shape[0]
        self.taps = weight_KC33.permute(2, 3, 0, 1).flatten(0, 2).contiguous()  # (dy, dx, K) x C
        self.matrices = {}

    def _shifted(self, size, target):
        """Matrices (3, target, size): bilinear upsampling, then taps -1, 0, 1."""
        if (size, target) not in self.matrices:
            identity = torch.eye(size)[None, :, None]
            upsample = interpolate(identity, size=(1, target), mode="bilinear", align_corners=False)[0, :, 0].T
            padded = pad(upsample, (0, 0, 1, 1))
            taps = torch.stack([padded[tap : tap + target] for tap in range(3)])
            self.matrices[size, target] = taps.to(self.taps.dtype)
        return self.matrices[size, target]

    def add_to(self, sum_BKHW, map_BChw):
        """Add the convolution of the map, upsampled to the sum's size, to the sum."""
        (height, width), (h, w) = sum_BKHW.shape[-2:], map_BChw.shape[-2:]
        along_x = self._shifted(w, width).transpose(1, 2)  # (3, w, W)
        along_y = self._shifted(h, height).permute(1, 0, 2).reshape(height, 3 * h)
        for sum_KHW, map_Chw in zip(sum_BKHW, map_BChw, strict=True):
            mixed = matrix_product(self.taps, map_Chw.flatten(1)).view(3, 3, self.channels * h, w)
            wide = sum(torch.matmul(mixed[:, tap], along_x[tap]) for tap in range(3))
            wide = wide.view(3, self.channels, h, width).transpose(0, 1).reshape(self.channels, 3 * h, width)
            sum_KHW.add_(torch.matmul(along_y, wide))
        return sum_BKHW


class _Fusion:
    """A convolution block over one map and several coarser ones, upsampled to it and concatenated behind it."""

    def __init__(self, block, widths):
        dtype = block[0].weight.dtype
        weight, bias_K = _folded(block)
        first, *others = weight.to(dtype).split(widths, dim=1)
        self.first = _Convolution3x3(first)
        self.others = [_UpsampledConvolution3x3(part) for part in others]
        self.bias = bias_K[:, None, None].to(dtype)

    def __call__(self, finest, coarser):
        total = self.first(finest)
        for convolution, level in zip(self.others, coarser, strict=True):
            total = convolution.add_to(total, level)
        return total.add_(self.bias).relu_()


class _Smoother:
    """Convolution, batch norm, ReLU."""

    def __init__(self, block):
        dtype = block[0].weight.dtype
        weight, bias_K = _folded(block)
        self.convolution, self.bias = _Convolution3x3(weight.to(dtype)), bias_K[:, None, None].to(dtype)

    def __call__(self, map_BKHW):
        return self.convolution(map_BKHW).add_(self.bias).relu_()


class InferenceHead:
    """What [`FaRLFeaturePyramid`] and [`FaRLUperHead`] compute together in evaluation mode.

    Args:
        pyramid ([`FaRLFeaturePyramid`]): Its weights are read when this object is made.
        head ([`FaRLUperHead`]): Likewise.
    """

    def __init__(self, pyramid, head):
        self.key = _weights_key(pyramid, head)
        *fine, self.coarsest = pyramid.levels
        self.laterals = [_Lateral(level, lateral) for level, lateral in zip(fine, head.laterals, strict=True)]
        pooling = head.pyramid_pooling
        self.pool_scales, self.pool_branches = pooling.pool_scales, pooling.branches
        channels = head.classifier.in_channels
        in_channels = pooling.bottleneck[0].in_channels - len(pooling.pool_scales) * channels
        self.bottleneck = _Fusion(pooling.bottleneck, [in_channels, *[channels] * len(pooling.pool_scales)])
        self.smoothers = [_Smoother(block) for block in head.smoothers]
        self.fusion = _Fusion(head.fusion, [channels] * 4)
        self.classifier = head.classifier

    def is_current(self, pyramid, head):
        """Whether the weights are those that this object was made from."""
        return self.key == _weights_key(pyramid, head)

    def __call__(self, maps):
        """Return logits (B, N, ., .) of the finest level's size for the four maps (B, C, ., .) of the backbone."""
        at_once = max(1, _NUMBERS_AT_ONCE // maps[0][0].numel())  # more only take more memory
        parts = zip(*(level.split(at_once) for level in maps), strict=True)
        return torch.cat([self._logits(part) for part in parts])

    def _logits(self, maps):
        *fine, deepest = maps
        levels = [lateral(level) for lateral, level in zip(self.laterals, fine, strict=True)]
        levels.append(self._pooled(self.coarsest(deepest)))
        for index in (2, 1, 0):
            levels[index] += interpolate(levels[index + 1], size=levels[index].shape[-2:], mode="bilinear")
        smooth = [smoother(level) for smoother, level in zip(self.smoothers, levels[:3], strict=True)]
        return self.classifier(self.fusion(smooth[0], [*smooth[1:], levels[3]]))

    def _pooled(self, coarsest_BCHW):
        pooled = [
            branch(nn.functional.adaptive_avg_pool2d(coarsest_BCHW, scale))
            for branch, scale in zip(self.pool_branches, self.pool_scales, strict=True)
        ]
        return self.bottleneck(coarsest_BCHW, pooled)


def _weights_key(*modules):
    """Identity of all weights and statistics; changes when one is replaced or written to."""
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)
