"""The steps that `benchmarks.pretraining` compares: forward, backward and AdamW with the same weights."""

import functools
from pathlib import Path

import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

from benchmarks.official_files import converted_path, source_path
from benchmarks.two_processes import serve
from farl_hf import FaRLForPreTraining
from farl_hf.conversion import convert_checkpoint
from farl_hf.training.pretraining.visual_tokens import FlavaVisualTokenizer

MIM_VOCABULARY, MASKED_SHARE = 8192, 75 / 196
SIZES = {
    "base": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    },
    "tiny": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 1000, "width": 128, "heads": 2, "layers": 2},
    },
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# As the pre-training script chooses: on a CPU, PyTorch's fused attention takes half of a step for its backward pass.
ATTENTION = "sdpa" if DEVICE.type == "cuda" else "eager"


def make_open_clip(size: str) -> CLIP:
    """open_clip's two encoders with OpenAI's activation, random weights."""
    torch.manual_seed(0)
    return CLIP(**SIZES[size], quick_gelu=True)


def prepare(folder: Path, size: str) -> None:
    """Writes open_clip's weights and what the converter makes of them, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not converted_path(folder, size).exists():
        torch.save({"state_dict": make_open_clip(size).state_dict()}, source_path(folder, size))
        convert_checkpoint(source_path(folder, size), converted_path(folder, size))


def make_batch(request: dict) -> dict[str, torch.Tensor]:
    """Pairs: images (B, 3, H, W), texts (B, T) that end with the largest id, masks and visual tokens (B, patches)."""
    size, count = SIZES[request["size"]], request["batch"]
    generator = torch.Generator().manual_seed(1)
    vision, text = size["vision_cfg"], size["text_cfg"]
    side, length, end = vision["image_size"], text["context_length"], text["vocab_size"] - 1
    ids = torch.randint(1, end - 1, (count, length), generator=generator)
    ids[:, 0], ids[:, -1] = end - 1, end
    patches = (side // vision["patch_size"]) ** 2
    order = torch.rand(count, patches, generator=generator).argsort(dim=1)
    batch = {
        "pixel_values": torch.randn(count, 3, side, side, generator=generator),
        "input_ids": ids,
        "bool_masked_pos": order < round(MASKED_SHARE * patches),
        "mim_labels": torch.randint(0, MIM_VOCABULARY, (count, patches), generator=generator),
    }
    return {name: values.to(DEVICE) for name, values in batch.items()}


def step_of(model, loss_of, request):
    """The work of a side: one step, which tells its loss and, on a GPU, the highest memory."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.05)

    def work():
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=request["precision"] == "bf16"):
            loss = loss_of(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": loss.item(), "device_peak_bytes": device_peak_bytes()}

    return work


def device_peak_bytes() -> int:
    """Highest memory of the GPU, once it has finished; 0 without one."""
    if DEVICE.type != "cuda":
        return 0
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def open_clip_step(request, folder):
    """open_clip's contrast."""
    model = make_open_clip(request["size"])
    model.load_state_dict(torch.load(source_path(folder, request["size"]), weights_only=True)["state_dict"])
    model.set_grad_checkpointing(request["checkpointing"])
    batch, contrast = make_batch(request), ClipLoss()

    def loss_of(model):
        images, texts, scale = model(batch["pixel_values"], batch["input_ids"])
        return contrast(images, texts, scale)

    return step_of(model.to(DEVICE).train(), loss_of, request)


def farl_step(request, folder, mim_weight):
    """Contrast, with `mim_weight` 1 also masked image modelling."""
    model = FaRLForPreTraining.from_pretrained(
        converted_path(folder, request["size"]),
        mim_weight=mim_weight,
        mim_vocab_size=MIM_VOCABULARY,
        attn_implementation=ATTENTION,
        dtype="float32",
    )
    for parameter in model.parameters():  # mapped from the file, they would be read and counted in the first step
        parameter.data = parameter.data.clone()
    if request["checkpointing"]:
        model.gradient_checkpointing_enable()
    batch = make_batch(request)
    if not mim_weight:
        batch = {name: batch[name] for name in ("pixel_values", "input_ids")}
    return step_of(model.to(DEVICE).train(), lambda model: model(**batch).loss, request)


def tokenizer(request, folder):
    """Visual tokens of a batch: DALL-E's encoder at random weights, on crops of eight pixels per patch."""
    vision = SIZES[request["size"]]["vision_cfg"]
    side = vision["image_size"] // vision["patch_size"] * 8
    visual_tokenizer = FlavaVisualTokenizer(FlavaImageCodebook(FlavaImageCodebookConfig()).to(DEVICE))
    pixels = torch.rand(request["batch"], 3, side, side).to(DEVICE)

    def work():
        visual_tokenizer(pixels)
        return {"device_peak_bytes": device_peak_bytes()}

    return work


CASES = {
    "open_clip": open_clip_step,
    "itc": functools.partial(farl_step, mim_weight=0.0),
    "itc_mim": functools.partial(farl_step, mim_weight=1.0),
    "tokenizer": tokenizer,
}

if __name__ == "__main__":
    serve(CASES)
