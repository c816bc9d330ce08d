"""Symmetric image-text contrast between the pairs of all processes, with exact gradients.

Paper section 3.1; supplement section 6: logits are gathered from all GPUs and all considered. In float32, whatever the
precision around it: products with a logit scale of up to 100 lose whole digits in bfloat16.

Shapes: B pairs of this process, N pairs of all processes, P projection size, W processes.
"""

import math

import torch
from torch import distributed
from torch.nn import functional

# The CLIP paper scales logits by 100 at most, and so does open_clip; FaRL's own bound was not published.
LARGEST_LOG_SCALE = math.log(100)


def contrastive_loss(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, logit_scale: torch.Tensor, gather: bool = True
) -> torch.Tensor:
    """Mean of the cross-entropies image to text and text to image.

    Each process compares its own B pairs with all N, so no process holds an N x N matrix. Its value is that of its
    own rows: the mean over the processes is the loss of all pairs, and averaged gradients (DDP, ZeRO) are exact.

    Args:
        image_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length image features; row i belongs to text i.
        text_embeds (`torch.FloatTensor` of shape `(B, P)`): Unit-length text features.
        logit_scale (`torch.FloatTensor` of shape `(1,)` or `()`): Factor of the similarities, not its logarithm.
        gather (`bool`, *optional*, defaults to `True`): Take the pairs of all processes of the default process group;
            every process must call, in the forward and in the backward pass.

    Returns:
        `torch.FloatTensor` of shape `()`: Loss in float32.

    Raises:
        ValueError: If the processes hold different numbers of pairs, or texts do not match images.
    """
    if image_embeds.shape != text_embeds.shape:
        raise ValueError(
            f"image_embeds are {tuple(image_embeds.shape)} and text_embeds {tuple(text_embeds.shape)}; "
            "a contrastive loss needs one text per image."
        )
    pairs, first, images_NP, texts_NP = image_embeds.shape[0], 0, image_embeds, text_embeds
    if gather and _process_count() > 1:
        _check_equal_batches(pairs, image_embeds.device)
        joined_N2P = _GatheredRows.apply(torch.cat([image_embeds, text_embeds], dim=1))
        images_NP, texts_NP = joined_N2P.chunk(2, dim=1)
        first = distributed.get_rank() * pairs
    own_B = torch.arange(first, first + pairs, device=image_embeds.device)
    image_loss = functional.cross_entropy(scaled_similarities(image_embeds, texts_NP, logit_scale), own_B)
    text_loss = functional.cross_entropy(scaled_similarities(text_embeds, images_NP, logit_scale), own_B)
    return (image_loss + text_loss) / 2


def unit_length(features_BP: torch.Tensor) -> torch.Tensor:
    """Return features (B, P) of the same directions and of length 1."""
    return functional.normalize(features_BP, dim=-1)


def scaled_similarities(rows_BP: torch.Tensor, columns_NP: torch.Tensor, logit_scale: torch.Tensor) -> torch.Tensor:
    """Return the cosine similarities (B, N) of unit-length features times the logit scale, in float32."""
    # Autocast would turn the product of float32 features into one of bfloat16.
    with torch.autocast(rows_BP.device.type, enabled=False):
        return rows_BP.float() @ columns_NP.float().t() * logit_scale.float()


def bounded_logit_scale(log_scale: torch.Tensor, largest_log: float = LARGEST_LOG_SCALE) -> torch.Tensor:
    """Return the logit scale: exp(log_scale), no larger than exp(largest_log), in float32.

    At the bound, only gradients that lower the parameter pass. So it stays at the bound or returns from it, as if it
    were clamped after each optimizer step (open_clip). This works under every optimizer; clamping after the step does
    not, because ZeRO keeps a master copy of the parameter. A plain clamp in the forward pass would have no gradient
    at the bound, and the parameter would never return.

    Args:
        log_scale (`torch.FloatTensor` of shape `(1,)`): Natural logarithm of the logit scale.
        largest_log (`float`, *optional*, defaults to ln 100): Its upper bound.
    """
    return _BoundedAbove.apply(log_scale.float(), largest_log).exp()


def _process_count():
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def _check_equal_batches(pairs, device):
    """With unequal batches the gathering hangs or mixes up rows, depending on the backend."""
    counts_W = torch.empty(_process_count(), dtype=torch.int64, device=device)
    distributed.all_gather_into_tensor(counts_W, torch.tensor([pairs], device=device))
    counts = counts_W.tolist()
    if len(set(counts)) > 1:
        raise ValueError(
            f"The processes hold {counts} pairs; contrast between processes needs equal batches. Drop the last, "
            "smaller batch (dataloader_drop_last=True), or pass return_loss=False in evaluation."
        )


class _GatheredRows(torch.autograd.Function):
    """Rows (B, C) of all processes, in the order of their ranks (W * B, C)."""

    @staticmethod
    def forward(ctx, rows_BC):
        ctx.rows = rows_BC.shape[0]
        all_NC = rows_BC.new_empty(distributed.get_world_size() * ctx.rows, *rows_BC.shape[1:])
        distributed.all_gather_into_tensor(all_NC, rows_BC.contiguous())
        return all_NC

    @staticmethod
    def backward(ctx, gradient_NC):
        # The losses of all processes depend on the rows of this one.
        gradient_NC = gradient_NC.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient_NC)
        first = distributed.get_rank() * ctx.rows
        return gradient_NC[first : first + ctx.rows]


class _BoundedAbove(torch.autograd.Function):
    """The smaller of a value and its bound. At the bound, gradient descent may only lower the value."""

    @staticmethod
    def forward(ctx, value, bound):
        # Not the value itself: ZeRO-3 empties parameters between the passes.
        ctx.save_for_backward(value >= bound)
        return value.clamp(max=bound)

    @staticmethod
    def backward(ctx, gradient):
        (at_bound,) = ctx.saved_tensors
        if (processes := _process_count()) > 1:
            # The mean of all processes decides. If each decided for itself, the averaged gradient would depend on how
            # the batch is divided.
            gradient = gradient.clone()
            distributed.all_reduce(gradient)
            gradient = gradient / processes
        return gradient.masked_fill(at_bound & (gradient < 0), 0.0), None
