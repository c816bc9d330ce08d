"""Toy models of images and texts, FaRL's and Transformers' CLIP, with their processors."""

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from farl_hf import FaRLConfig, FaRLImageProcessor, FaRLModel, FaRLProcessor
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

# Few blocks, 4 x 4 patches, and the whole vocabulary of CLIP.
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {
    "vocab_size": 49_408,
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 77,
    "pad_token_id": 49_407,
    "bos_token_id": 49_406,
    "eos_token_id": 49_407,
}
SIZE = {"height": 32, "width": 32}


def make_farl(seed=0):
    """A FaRLModel and its processor."""
    torch.manual_seed(seed)
    model = FaRLModel(FaRLConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)).eval()
    return model, FaRLProcessor(FaRLImageProcessor(size=SIZE), make_clip_tokenizer())


def make_clip(seed=0):
    """A CLIPModel and its processor."""
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)).eval()
    image_processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE)
    return model, CLIPProcessor(image_processor, make_clip_tokenizer())
