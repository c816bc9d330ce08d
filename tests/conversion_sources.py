"""Files in the released formats with random weights, written with the original code.

Small variants: a vision tower of width 64 and 12 blocks, so that the levels are the paper's.
"""

import importlib
import io
import warnings

import torch
from torch import nn

from farl_hf.conversion import original_networks

WIDTH = 64
SMALL = {"width": WIDTH, "depth": 12, "projection": 32}


def randomise(module, seed=0):
    """Weights and statistics of a size at which every part matters; the module in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if not value.is_floating_point() or name.endswith(("image_mean", "image_std", "logit_scale")):
            continue
        noise = torch.randn(value.shape, generator=generator)
        is_gain = value.ndim == 1 and name.endswith((".weight", "running_var"))
        value.copy_((1 + 0.1 * noise).clamp(min=0.5) if is_gain else noise * _spread(name, value))
    return module.eval()


def _spread(name, value):
    if value.ndim < 2 or "embedding" in name:
        return 0.1
    return value[0].numel() ** -0.5


def make_parsing_network(num_classes=11, resolution=64, sizes=SMALL, head_channels=16):
    """The network of facer's parsing archives."""
    return _dense("head", num_classes, resolution, sizes, head_channels)


def make_landmark_network(num_points=68, resolution=64, sizes=SMALL, head_channels=16):
    """The network of facer's landmark archives."""
    return _dense("heatmap_head", num_points, resolution, sizes, head_channels)


def _dense(head_name, num_outputs, resolution, sizes, head_channels):
    visual = original_networks.make_visual_transformer(resolution, **sizes)
    head = original_networks.make_upernet_head(num_outputs, sizes["width"], head_channels)
    features = original_networks.make_visual_features(visual)
    return randomise(original_networks.DenseNetwork(features, head, head_name))


class ParserWithOutputs(nn.Module):
    """What facer's archives return: upsampled logits, and a second output that facer does not read."""

    def __init__(self, network, out_size):
        super().__init__()
        self.backbone, self.head, self.out_size = network.backbone, network.head, out_size

    def forward(self, image):
        features, _ = self.backbone(image)
        logits = self.head(features)
        return nn.functional.interpolate(logits, size=self.out_size, mode="bilinear", align_corners=False), features[3]


def _traced(module, inputs):
    with warnings.catch_warnings():  # tracing is deprecated, and warns of every size that it freezes
        warnings.simplefilter("ignore")
        return torch.jit.trace(module, inputs, strict=False, check_trace=False)


def write_parsing(path, network, out_size=(64, 64)):
    """A TorchScript archive of the whole network, as facer's parsing models."""
    side = network.backbone.input_resolution
    traced = _traced(ParserWithOutputs(network, out_size), torch.rand(1, 3, side, side))
    torch.jit.save(traced, str(path))
    return path


def write_landmarks(path, network):
    """A TorchScript archive of the head with the pickled backbone as extra file (facer `face_alignment/farl.py`)."""
    side = network.backbone.input_resolution
    features, _ = network.backbone(torch.rand(1, 3, side, side))
    traced = _traced(network.heatmap_head, (features,))
    buffer = io.BytesIO()
    torch.save(network.backbone.state_dict(), buffer)
    torch.jit.save(traced, str(path), _extra_files={"backbone": buffer.getvalue()})
    return path


def write_states(path, network, legacy=False):
    """A states file of the official training code: averaged and trained network, optimiser, step."""
    trained = {name: value + 1 for name, value in network.state_dict().items()}
    states = {"networks": {"main": trained, "main_ema": network.state_dict()}, "optimizers": {"main": {}}, "epoch": 3}
    torch.save(states, path, _use_new_zipfile_serialization=not legacy)
    return path


def make_attributes(num_labels=40, levels=(11,), resolution=32):
    """The network of facer's attribute file."""
    visual = original_networks.make_visual_transformer(resolution, **SMALL)
    return randomise(original_networks.make_attribute_network(visual, list(levels), num_labels))


def make_detector(body="mobilenet_v1"):
    """The network of the RetinaFace files."""
    module = importlib.import_module("facer.face_detection.retinaface")
    settings = {"mobilenet_v1": module.cfg_mnet, "resnet": module.cfg_re50}[body]
    network = randomise(module.RetinaFace({**settings, "pretrain": False}, phase="test"))
    for name, value in network.state_dict().items():
        if name.endswith(("bn3.weight", "conv1x1.weight")):  # or sixteen residual blocks saturate every score
            value.mul_(0.2)
    return network


def write_plain(path, network, prefix="", legacy=False):
    """A plain state dict; `prefix="module."` as saved by data-parallel training."""
    weights = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save(weights, path, _use_new_zipfile_serialization=not legacy)
    return path


def make_two_towers(mim=True):
    """State dict of a FaRL backbone file: FaRL's vision tower, CLIP's text side (open_clip), the MIM branch."""
    visual = original_networks.make_visual_transformer(32, **SMALL, mim_layers=1 if mim else 0, vocabulary=48)
    clip = _small_clip(resolution=32)
    text = {name: value for name, value in clip.state_dict().items() if not name.startswith("visual.")}
    tower = {f"visual.{name}": value for name, value in randomise(visual).state_dict().items()}
    return {name: value for name, value in (text | tower).items() if name != "attn_mask"}


def _small_clip(resolution):
    clip = importlib.import_module("open_clip.model").CLIP(
        embed_dim=32,
        vision_cfg={"layers": 2, "width": WIDTH, "patch_size": 16, "image_size": resolution},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
        quick_gelu=True,
    )
    return randomise(clip)


def write_two_towers(path, weights, legacy=False):
    """A backbone file: everything under `state_dict`."""
    torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_openai_archive(path):
    """A TorchScript archive of both towers in half precision, with the sizes as buffers, as OpenAI's."""
    clip = _small_clip(resolution=32)
    for name, value in (("input_resolution", 32), ("context_length", 77), ("vocab_size", 49408)):
        vars(clip).pop(name, None)
        clip.register_buffer(name, torch.tensor(value))
    clip.half()
    traced = _traced(clip, (torch.rand(1, 3, 32, 32).half(), torch.zeros(1, 77, dtype=torch.long)))
    torch.jit.save(traced, str(path))
    return path


def write_clip_folder(folder):
    """A checkpoint folder of Transformers' CLIP, with a head size that its configuration alone tells."""
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 16, "projection_dim": 24},
        text_config={**sizes, "vocab_size": 49408, "projection_dim": 24, "eos_token_id": 49407},
        projection_dim=24,
    )
    randomise(CLIPModel(config)).save_pretrained(folder)
    return folder
