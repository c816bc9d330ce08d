"""Somebody who never installed farl_hf: loads repositories from the Hub and answers with what they compute.

`python -I stranger.py JOBS PHOTO RESULTS`: JOBS is JSON, repository -> task, or auto class of a model that is called
alone; PHOTO a picture; RESULTS a torch file.
"""

import json
import sys

import torch
import transformers
from PIL import Image

TEXTS = ["a smiling woman", "a MAN’s hat &amp; beard, İstanbul", "", "glasses " * 90]  # noqa: RUF001
TOWERS = "zero-shot-image-classification"


class Blocker:
    """Hides farl_hf, which is installed where the tests run."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "farl_hf":
            raise ModuleNotFoundError("No module named 'farl_hf'")


def plain(answer):
    """An answer with pictures as tensors, so that it can be saved and compared."""
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [plain(value) for value in answer]
    if isinstance(answer, Image.Image):
        return {"pixels": list(answer.tobytes()), "palette": answer.getpalette(), "size": answer.size}
    return answer


def use_towers(repo, photo, **trust):
    """Tokenizer, processor, model and the stock pipelines of a repository of both towers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(repo, **trust)
    processor = transformers.AutoProcessor.from_pretrained(repo, **trust)
    model = transformers.AutoModel.from_pretrained(repo, **trust)
    inputs = processor(images=photo, text=TEXTS, return_tensors="pt")
    classify = transformers.pipeline(TOWERS, model=repo, **trust)
    extract = transformers.pipeline("image-feature-extraction", model=repo, **trust)
    return {
        "ids": tokenizer(TEXTS)["input_ids"],
        "inputs": dict(inputs),
        "logits": model(**inputs).logits_per_image.detach(),
        "labels": classify(photo, candidate_labels=TEXTS),
        "features": extract(photo, pool=True),
        "classes": [type(one).__name__ for one in (tokenizer, processor, processor.image_processor, model)],
    }


def use_face_task(repo, task, photo, **trust):
    """The pipeline of a repository, with its own detector and on a face that is known; and its image processor."""
    pipe = transformers.pipeline(task, model=repo, **trust)
    answers = {"photo": pipe([photo, photo.rotate(10)])}
    if task != "face-detection":
        answers["aligned"] = pipe(photo, aligned=True)
    image_processor = transformers.AutoImageProcessor.from_pretrained(repo, **trust)
    answers["pixel_values"] = image_processor(photo, return_tensors="pt")["pixel_values"]
    answers["classes"] = [type(one).__name__ for one in (pipe, pipe.model, image_processor)]
    return plain(answers)


def use_model(repo, auto_name, photo, **trust):
    """Image processor and model of a repository, without a pipeline."""
    image_processor = transformers.AutoImageProcessor.from_pretrained(repo, **trust)
    model = getattr(transformers, auto_name).from_pretrained(repo, **trust)
    inputs = image_processor(photo, return_tensors="pt")
    outputs = model(inputs["pixel_values"])
    numbers = {name: value.detach() for name, value in outputs.items() if isinstance(value, torch.Tensor)}
    return dict(inputs) | numbers | {"classes": [type(one).__name__ for one in (image_processor, model)]}


def use(repo, task, photo, **trust):
    """What a repository computes."""
    torch.manual_seed(0)
    if task.startswith("AutoModel"):
        return use_model(repo, task, photo, **trust)
    return use_towers(repo, photo, **trust) if task == TOWERS else use_face_task(repo, task, photo, **trust)


def main():
    """Use every repository."""
    sys.meta_path.insert(0, Blocker())
    jobs, photo = json.loads(sys.argv[1]), Image.open(sys.argv[2]).convert("RGB")
    results = {repo: use(repo, task, photo, trust_remote_code=True) for repo, task in jobs.items()}
    assert "farl_hf" not in sys.modules
    torch.save(results, sys.argv[3])


if __name__ == "__main__":
    main()
