"""DALL-E's image encoder as a function of its weights, written from openai/DALL-E `dall_e/encoder.py` (lines 11-92).

It shares nothing with Transformers' FLAVA but the names of the tensors in FLAVA's state dict.
"""

import torch
from torch.nn.functional import conv2d, max_pool2d


def encode(weights, pixels, groups=4):
    """Scores (B, V, h / 8, w / 8) of the visual tokens for mapped pixels (B, 3, h, w) in [0.1, 0.9].

    Every convolution is padded to keep the size. A residual branch is divided by the square of the number of blocks.
    """

    def convolve(values, name):
        kernel = weights[f"{name}.weight"]
        return conv2d(values, kernel, weights[f"{name}.bias"], padding=(kernel.shape[-1] - 1) // 2)

    per_group = len({name.split(".")[3] for name in weights if name.startswith("blocks.group_1.group.block_")})
    gain = 1 / (groups * per_group) ** 2
    values = convolve(pixels, "blocks.input")
    for group in range(1, groups + 1):
        for block in range(1, per_group + 1):
            name = f"blocks.group_{group}.group.block_{block}"
            branch = values
            for layer in range(1, 5):
                branch = convolve(branch.relu(), f"{name}.res_path.path.conv_{layer}")
            shortcut = f"{name}.id_path"
            values = (convolve(values, shortcut) if f"{shortcut}.weight" in weights else values) + gain * branch
        if group < groups:
            values = max_pool2d(values, 2)
    return convolve(values.relu(), "blocks.output.conv")


@torch.no_grad()
def spread_tokens(codebook, pixels):
    """Give a codebook weights by which many tokens win: random ones, each token's scores with mean 0, deviation 1.

    Args:
        codebook: `FlavaImageCodebook`; changed in place.
        pixels (`torch.Tensor` of shape (B, 3, h, w)): In [0.1, 0.9], what these are taken over.
    """
    generator = torch.Generator().manual_seed(0)
    for name, value in codebook.named_parameters():
        spread = 0.1 if value.ndim == 1 else (2 / value[0].numel()) ** 0.5
        value.copy_(torch.randn(value.shape, generator=generator) * spread)
        if ".res_path.path.conv_4." in name:  # the gain of a branch is 1 / 64; without this it would hardly matter
            value.mul_(30)
    scores, output = encode(codebook.state_dict(), pixels), codebook.blocks.output.conv
    mean, deviation = scores.mean(dim=(0, 2, 3)), scores.std(dim=(0, 2, 3))
    output.bias.sub_(mean).div_(deviation)
    output.weight.div_(deviation[:, None, None, None])
