"""farl_hf's half of `versus_open_clip`."""

import functools

import torch

from benchmarks.encoder_inputs import make_input_ids, make_pixel_values
from benchmarks.official_files import converted_path
from benchmarks.two_processes import serve
from farl_hf import FaRLModel


@functools.cache
def encoders(folder):
    """The same weights, converted."""
    return FaRLModel.from_pretrained(converted_path(folder, "encoders")).eval().optimize_for_inference()


def image(request, folder):
    """Pictures to embeddings."""
    model, pixel_values = encoders(folder), make_pixel_values(request["batch"])

    def work():
        with torch.inference_mode():
            return {"embeddings": model.get_image_features(pixel_values).pooler_output}

    return work


def text(request, folder):
    """Texts to embeddings."""
    model, input_ids = encoders(folder), make_input_ids(request["batch"])

    def work():
        with torch.inference_mode():
            return {"embeddings": model.get_text_features(input_ids).pooler_output}

    return work


CASES = {"image": image, "text": text}

if __name__ == "__main__":
    serve(CASES)
