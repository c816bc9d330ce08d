"""open_clip's half of `versus_open_clip`."""

import functools

import open_clip
import torch

from benchmarks.encoder_inputs import make_input_ids, make_pixel_values
from benchmarks.official_files import source_path
from benchmarks.two_processes import serve


@functools.cache
def encoders(folder):
    """FaRL's random weights in open_clip's model."""
    model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None)
    weights = torch.load(source_path(folder, "encoders"), weights_only=True)["state_dict"]
    known = model.state_dict()
    model.load_state_dict({name: value for name, value in weights.items() if name in known}, strict=True)
    return model.eval()


def image(request, folder):
    """Pictures to embeddings."""
    model, pixel_values = encoders(folder), make_pixel_values(request["batch"])

    def work():
        with torch.inference_mode():
            return {"embeddings": model.encode_image(pixel_values)}

    return work


def text(request, folder):
    """Texts to embeddings."""
    model, input_ids = encoders(folder), make_input_ids(request["batch"])

    def work():
        with torch.inference_mode():
            return {"embeddings": model.encode_text(input_ids)}

    return work


CASES = {"image": image, "text": text}

if __name__ == "__main__":
    serve(CASES)
