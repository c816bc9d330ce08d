"""What `model.optimize_for_inference()` computes instead of the modules: the same sums in less time.

Nothing is approximated; results differ by rounding. Without that call no model of this library computes anything but
its modules. After it, every call asks again whether the modules would compute the same, and runs them where they might
not: see [`FastInferenceMixin`].

- Pyramid and UperNet head on a CPU ([`FastDenseHead`]): a quarter of the arithmetic. For ViT-B/16 at 448 pixels in
  float32, results differ by 2e-6, relative. Batch norms are folded into their convolutions; the last transposed
  convolution of a level is merged with the 1 x 1 convolution that follows it; a 3 x 3 convolution over concatenated,
  upsampled maps is computed map by map, each mixed over its channels at its own resolution and upsampled after that,
  because bilinear upsampling acts on every channel alike and so commutes with mixing them; what remains of wide 3 x 3
  convolutions is computed by Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016).
- Linear layers of the encoders on AMD's processors with AVX-512 ([`FastLinears`]): products of matrices as
  convolutions of 1 x 1. PyTorch gives products of float32 matrices to Intel's MKL, which uses half the width of the
  registers on AMD's processors, and convolutions to oneDNN, which uses all of it: 2.1 times the rate on a Zen 5.
- QuickGELU in one new tensor instead of three, whose pages take time ([`FastQuickGELU`]).
- Convolution and batch norm of the detector in one pass ([`FastConvolutionAndNorm`]).

Weights are read from the modules; nothing is added to the state dict, and copies of a model are plain.

Letters in shapes: B batch, C channels of the backbone, K channels of the head, h and w a map, H and W the map it is
added to.
"""

import functools
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, pad
from torch.nn.modules import module as torch_modules
from torch.overrides import TorchFunctionMode
from transformers.utils import logging

logger = logging.get_logger(__name__)

# PyTorch gives inputs to oneDNN only if they hold more numbers than this.
_SMALLEST_INPUT = 20480
# Below this width, or on smaller maps, a direct convolution is as fast as Winograd and spares its fourfold weights.
_WINOGRAD_CHANNELS = 256
_WINOGRAD_SIDE = 48
_TILE = 4
# Faces go through the head together up to this many numbers in one level of the backbone's maps.
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
_PLAIN_TENSORS = (torch.Tensor, nn.Parameter)
_GRADIENTS = "gradients are on"
# Numbers of each tensor that are compared at every call: writing through `tensor.data` leaves no other trace.
_NUMBERS_COMPARED = 16
_PLAN = "_fast_inference"  # the attribute that marks an optimised module


class FastInferenceMixin(nn.Module):
    """Gives a model `optimize_for_inference`."""

    def optimize_for_inference(self) -> Self:
        """Compute inference faster from now on, by the same weights, with results that differ by rounding.

        Every call runs the modules themselves, and says so once in a debug line of the log, while gradients, autocast
        or tracing are on, and wherever skipping a module could be noticed: it has hooks, a replaced `forward`, another
        class (an adapter, a quantised layer) or other settings than it was built with, is in training mode, or has
        weights on `meta`. Weights that have changed since they were last read, or moved to another device or
        precision, are left to the modules for one call and read anew by the next.

        `train()` undoes it, `eval()` does not. Copies, pickles and checkpoints are those of the plain model.

        Returns:
            The model.
        """
        told: set[str] = set()
        for name, module in self.named_modules():
            methods = _marked_methods(type(module))  # type: ignore[arg-type]  # classes are hashable
            if not methods:
                continue
            own = module.__dict__  # what stands there is found ahead of the class
            for method in methods:
                way = own.setdefault(_PLAN, method.fast_way(name or type(module).__name__, told))
                own.setdefault(method.__name__, _MethodOfOne(functools.partial(way.run, method), module))
            for replaced, function in _METHODS_OF_OPTIMISED.items():
                own.setdefault(replaced, _MethodOfOne(function, module))
        return self


def fast_as(way: "type[FastWay]") -> Callable[[Callable], Callable]:
    """Mark a method of a module as one that `way` computes instead, once the model was optimised for inference.

    The method stays what it is: only `optimize_for_inference` looks for the mark.

    Args:
        way (`type`): A subclass of [`FastWay`].
    """

    def mark(method):
        method.fast_way = way
        return method

    return mark


@functools.cache
def _marked_methods(module_class):
    members: dict[str, Any] = {}
    for base in reversed(module_class.__mro__):
        members |= vars(base)
    return [member for member in members.values() if hasattr(member, "fast_way")]


class _MethodOfOne:
    """A method of one module instead of a class; it holds the module weakly, so that the memory is freed at once."""

    def __init__(self, function, module):
        self.function, self.module = function, weakref.ref(module)

    def __call__(self, *args, **kwargs):
        return self.function(self.module(), *args, **kwargs)


def _attributes_of_plain(module):
    optimised = (_MethodOfOne, FastWay)
    return {name: value for name, value in module.__dict__.items() if not isinstance(value, optimised)}


def _train(module, mode=True):
    if mode:  # undoes `optimize_for_inference`
        module.__dict__ = _attributes_of_plain(module)
    return type(module).train(module, mode)


def _plain_replica(module):
    replica = type(module)._replicate_for_data_parallel(module)
    replica.__dict__ = _attributes_of_plain(replica)  # else it would compute with the weights of this one
    return replica


# What an optimised module has in place of its class's methods. Copies and pickles are plain.
_METHODS_OF_OPTIMISED = {
    "train": _train,
    "__getstate__": _attributes_of_plain,
    "_replicate_for_data_parallel": _plain_replica,
}


class FastWay:
    """A faster computation of a part of a model: of a module whose method is marked by [`fast_as`].

    Args:
        name (`str`): Of the part, for the log.
        told (`set[str]`): Reasons that the log already gave for this model.
    """

    def __init__(self, name: str, told: set[str]):
        self.name, self.told = name, told

    def run(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Return what `method(module, *inputs, **options)` returns, computed in the faster way where that suits."""
        # A compiled or exported graph is that of the modules.
        if torch.compiler.is_compiling() or not self.suits(module, *inputs):
            return method(module, *inputs, **options)
        return self.compute(method, module, *inputs, **options)

    def suits(self, module: Any, *inputs: Any) -> bool:
        """Whether this call may be computed instead; if not, the log says why, once."""
        obstacle = self.obstacle(module, *inputs)
        if obstacle is not None and obstacle not in self.told:
            self.told.add(obstacle)
            logger.debug(f"{self.name} is computed by its modules: {obstacle}.")
        return obstacle is None

    def obstacle(self, module: Any, *inputs: Any) -> str | None:
        """Return why the modules must compute this call, or None."""
        if torch.is_grad_enabled():
            return _GRADIENTS
        if torch.jit.is_tracing():
            return "it is traced"
        if not inputs:
            return "its input has a keyword"
        for tensor in inputs[0] if isinstance(inputs[0], (list, tuple)) else inputs[:1]:
            if type(tensor) not in _PLAIN_TENSORS or tensor.device.type == "meta":
                return "its input is no plain tensor"
            if torch.is_autocast_enabled(tensor.device.type):
                return "autocast is on"
        return None

    def compute(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Return what `method(module, *inputs, **options)` returns."""
        raise NotImplementedError


# --- modules that are skipped ---------------------------------------------------------------------------------------


def _obstacle_in(module):
    """Return why a module may not be skipped, or None."""
    if module.training:
        return f"a {type(module).__name__} in it is in training mode"
    if "forward" in module.__dict__:
        return f"a {type(module).__name__} in it has a forward of its own"
    if module._compiled_call_impl is not None:
        return f"a {type(module).__name__} in it is compiled"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return f"a {type(module).__name__} in it has hooks"
    return None


def _hooks_of_all_modules():
    hooks = (
        torch_modules._global_forward_hooks
        or torch_modules._global_forward_pre_hooks
        or torch_modules._global_backward_hooks
        or torch_modules._global_backward_pre_hooks
    )
    return "hooks are set on all modules" if hooks else None


def _tensors_of(modules):
    return [
        tensor
        for module in modules
        for tensors in (module._parameters, module._buffers)
        for tensor in tensors.values()
        if tensor is not None
    ]


def _are_plain(tensors):
    """Whether tensors are PyTorch's own, of one precision, on one device, and hold numbers."""
    kinds = {(type(tensor) in _PLAIN_TENSORS, tensor.dtype, tensor.device) for tensor in tensors}
    return len(kinds) == 1 and tensors[0].device.type != "meta" and type(tensors[0]) in _PLAIN_TENSORS


class _Snapshot:
    """What modules are and hold, to be compared at every call."""

    def __init__(self, modules):
        self.identities = _identities_of(modules)
        tensors = _tensors_of(modules)
        self.traces = _traces_of(tensors)
        # Views of some numbers of each; batch norms count their batches in integers.
        flat = [_in_memory_order(tensor.detach()) for tensor in tensors if tensor.is_floating_point()]
        self.views = [numbers[:: max(1, len(numbers) // _NUMBERS_COMPARED)] for numbers in flat]
        self.numbers = torch.cat(self.views)

    def is_current(self, modules):
        """Whether these are the same modules, with the settings and weights that they had."""
        identities = _identities_of(modules)
        return (
            len(identities) == len(self.identities)
            and all(map(operator.is_, identities, self.identities))
            and _traces_of(_tensors_of(modules)) == self.traces
            and torch.equal(torch.cat(self.views), self.numbers)
        )


def _in_memory_order(tensor):
    """Return the numbers of a tensor in one row, as a view."""
    return tensor.permute(sorted(range(tensor.ndim), key=tensor.stride, reverse=True)).flatten()


def _identities_of(modules):
    """Modules, their classes, and the settings that stand in their public attributes."""
    identities = [*modules, *map(type, modules)]
    for module in modules:
        identities += [value for name, value in module.__dict__.items() if name[0] != "_"]
    return identities


def _traces_of(tensors):
    """Where each tensor lies and how often it was written to; tensors of inference mode do not count that."""
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]


# --- the detector ---------------------------------------------------------------------------------------------------


class FastConvolutionAndNorm(FastWay):
    """`normalization(convolution(x))` in one pass, with the weights of the moment: a quarter of the time on photos."""

    def obstacle(self, module: Any, *inputs: Any) -> str | None:
        """Return why the modules must compute this call, or None."""
        convolution, norm = module.convolution, module.normalization
        obstacle = (
            super().obstacle(module, *inputs)
            or _hooks_of_all_modules()
            or _obstacle_in(convolution)
            or _obstacle_in(norm)
        )
        if obstacle is None and not (
            type(convolution) is nn.Conv2d
            and type(norm) is nn.BatchNorm2d
            and convolution.bias is None
            and convolution.padding_mode == "zeros"
            and norm.affine
            and norm.running_var is not None
            and _are_plain([convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var])
        ):
            return "its convolution or norm is of another kind"
        return obstacle

    def compute(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Return the normalised map (B, C, H, W)."""
        convolution, norm = module.convolution, module.normalization
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = convolution.weight * scale[:, None, None, None]
        bias = norm.bias - norm.running_mean * scale
        (map_BCHW,) = inputs
        strides = convolution.stride, convolution.padding, convolution.dilation
        return conv2d(map_BCHW, weight, bias, *strides, convolution.groups)


# --- the encoders --------------------------------------------------------------------------------------------------


class FastQuickGELU(FastWay):
    """`x * sigmoid(1.702 x)` in one new tensor."""

    def compute(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Map a tensor of any shape."""
        (values,) = inputs
        return (1.702 * values).sigmoid_().mul_(values)


class FastLinears(FastWay):
    """Every product of a linear layer in a part as a convolution, on processors where that is faster.

    No module is skipped: what is replaced is PyTorch's function `linear`, whoever calls it.
    """

    def compute(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Return what the method returns."""
        if not _products_waste_registers():
            return method(module, *inputs, **options)
        with _LinearsAsConvolutions():
            return method(module, *inputs, **options)


class _LinearsAsConvolutions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is nn.functional.linear and not kwargs and _suits_convolution(*args[:2]):
            return _linear(*args)
        return function(*args, **(kwargs or {}))


@functools.cache
def _products_waste_registers():
    """Return whether MKL computes on a processor of AMD that has AVX-512."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return "AuthenticAMD" in file.read()
    except OSError:  # not Linux: nothing was measured there
        return False


def _suits_convolution(inputs, weight):
    """Return whether a product of these two had better be a convolution: without gradients, float32, large."""
    return (
        inputs.numel() > _SMALLEST_INPUT
        and inputs.dtype == weight.dtype == torch.float32
        and inputs.device.type == weight.device.type == "cpu"
        and type(inputs) in _PLAIN_TENSORS  # quantised weights are tensors of a kind of their own
        and type(weight) in _PLAIN_TENSORS
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()  # true while a graph is exported, too
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and _products_waste_registers()
    )


def _linear(inputs, weight_NK, bias_N=None):
    rows = inputs.reshape(-1, weight_NK.shape[1])
    return _convolved(rows, weight_NK, bias_N).view(*inputs.shape[:-1], weight_NK.shape[0])


def _matrix_product(left_MK, right_KN):
    """Return `left @ right`, (M, N)."""
    if not _suits_convolution(left_MK, right_KN):
        return left_MK @ right_KN
    return _convolved(left_MK.contiguous(), right_KN.T, None)


def _convolved(rows_MK, weight_NK, bias_N):
    map_1K1M = rows_MK[None, None].permute(0, 3, 1, 2)  # in channels-last layout, as the result will be
    # Dilation changes nothing in a 1 x 1 filter, but with it PyTorch uses oneDNN with a single thread, too.
    return conv2d(map_1K1M, weight_NK[:, :, None, None], bias_N, dilation=2).permute(0, 2, 3, 1)[0, 0]


# --- pyramid and head -----------------------------------------------------------------------------------------------


class FastDenseHead(FastWay):
    """The pyramid and the head of a dense model on a CPU, in float32 or bfloat16.

    On a GPU one large convolution is as fast as these smaller ones.
    """

    def __init__(self, name: str, told: set[str]):
        super().__init__(name, told)
        self.head: InferenceHead | None = None
        self.snapshot: _Snapshot | None = None

    def obstacle(self, module: Any, *inputs: Any) -> str | None:
        """Return why the modules must compute this call, or None."""
        obstacle = super().obstacle(module, *inputs) or _hooks_of_all_modules()
        if obstacle == _GRADIENTS:
            self.head = None  # a step may follow, and fused optimisers write weights without a trace
        if obstacle is not None:
            return obstacle
        modules = [*module.pyramid.modules(), *module.head.modules()]
        obstacle = next(filter(None, map(_obstacle_in, modules)), None)
        if obstacle is None and self.head is None:
            obstacle = self._prepare(module, modules)
        elif obstacle is None and not (self.snapshot and self.snapshot.is_current(modules)):
            self.head = None
            obstacle = "it has changed"
        return obstacle or self._obstacle_in_maps(*inputs)

    def _prepare(self, model, modules):
        if model.layout() != model.layout_as_built:
            return "a part of it is not as it was built"
        tensors = [tensor for tensor in _tensors_of(modules) if tensor.is_floating_point()]
        if not (_are_plain(tensors) and tensors[0].device.type == "cpu" and tensors[0].dtype in _PRECISIONS):
            return "its weights are not on a CPU in float32 or bfloat16"
        if any(hasattr(tensor, "ds_id") for tensor in tensors):
            return "DeepSpeed has divided its weights"
        self.snapshot = _Snapshot(modules)
        self.head = InferenceHead(model.pyramid, model.head)
        return None

    def _obstacle_in_maps(self, maps):
        assert self.head is not None  # `_prepare` has made it
        weight = self.head.classifier.weight
        same = all(level.dtype == weight.dtype and level.device == weight.device for level in maps)
        return None if same else "its input is of another device or precision"

    def compute(self, method: Callable, module: Any, *inputs: Any, **options: Any) -> Any:
        """Return logits (B, N, ., .) of the finest level's size for four maps (B, C, ., .) of the backbone."""
        assert self.head is not None  # `suits` has been asked
        return self.head(*inputs)


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
            weight, bias = self.first
            map_BCHW = nn.functional.gelu(conv_transpose2d(map_BCHW, weight, bias, stride=2))
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
        mixed = torch.stack([_matrix_product(*pair) for pair in zip(filters, tiles, strict=True)])
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
            mixed = _matrix_product(self.taps, map_Chw.flatten(1)).view(3, 3, self.channels * h, w)
            wide = torch.matmul(mixed[:, 0], along_x[0])
            for tap in (1, 2):
                wide = wide + torch.matmul(mixed[:, tap], along_x[tap])
            wide = wide.view(3, self.channels, h, width).transpose(0, 1).reshape(self.channels, 3 * h, width)
            sum_KHW.add_(torch.matmul(along_y, wide))
        return sum_BKHW


class _Fusion:
    """Convolution, batch norm, ReLU over a map and any coarser ones, upsampled to it and concatenated behind it."""

    def __init__(self, block, widths):
        dtype = block[0].weight.dtype
        weight, bias_K = _folded(block)
        first, *others = weight.to(dtype).split(widths, dim=1)
        self.first = _Convolution3x3(first)
        self.others = [_UpsampledConvolution3x3(part) for part in others]
        self.bias = bias_K[:, None, None].to(dtype)

    def __call__(self, finest, coarser=()):
        total = self.first(finest)
        for convolution, level in zip(self.others, coarser, strict=True):
            total = convolution.add_to(total, level)
        return total.add_(self.bias).relu_()


class InferenceHead:
    """What [`FaRLFeaturePyramid`] and [`FaRLUperHead`] compute together in evaluation mode.

    Args:
        pyramid ([`FaRLFeaturePyramid`]): Its weights are read when this object is made.
        head ([`FaRLUperHead`]): Likewise.
    """

    def __init__(self, pyramid: Any, head: Any):
        *fine, self.coarsest = pyramid.levels
        self.laterals = [_Lateral(level, lateral) for level, lateral in zip(fine, head.laterals, strict=True)]
        pooling = head.pyramid_pooling
        self.pool_scales, self.pool_branches = pooling.pool_scales, pooling.branches
        channels = head.classifier.in_channels
        in_channels = pooling.bottleneck[0].in_channels - len(pooling.pool_scales) * channels
        self.bottleneck = _Fusion(pooling.bottleneck, [in_channels, *[channels] * len(pooling.pool_scales)])
        self.smoothers = [_Fusion(block, [channels]) for block in head.smoothers]
        self.fusion = _Fusion(head.fusion, [channels] * 4)
        self.classifier = head.classifier

    def __call__(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
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
