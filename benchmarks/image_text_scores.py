"""Retrieval and zero-shot scores of a model with vision and text encoder, on rendered faces.

    python -m benchmarks.image_text_scores [--model NAME] [--photos N] [--json FILE]
    python -m benchmarks.image_text_scores --photographs FOLDER [--model NAME] [--json FILE]

SyntheticFaces `portraits`, test split, photos with one face, cropped by its true five points. Recall: of a face among
256 captions, and of a caption among 256 faces, as the mean over all whole galleries. Zero-shot: the nearest of the
sentences of `farl_hf.labels.attributes`. Beside the accuracy stand the accuracy of always giving the more frequent
answer, and the balanced accuracy, for which chance is 0.5.

With `--photographs`, the faces are those of photographs instead: FOLDER holds `reference.json` (per photo `faces`,
each with `keypoints` and `attributes`, true, false or null) and the photos as `NAME.jpg`. There are no captions and
few faces there, so the score is the area under the ROC curve: how often a face that has an attribute is nearer to its
sentences, against those of its absence, than a face that lacks it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoModel, AutoProcessor

from farl_hf import load_face_dataset
from farl_hf.checkpoints import checkpoint
from farl_hf.data.samples.pretraining_samples import PretrainingPairs, PretrainingTransform, pretraining_collate
from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.labels.attributes import ATTRIBUTE_PROMPTS
from farl_hf.training.evaluation.retrieval import RetrievalEvaluation

BATCH_SIZE = 64


def embed(model: torch.nn.Module, pairs: PretrainingPairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit-length image and text features (n, P), and attributes (n, 40)."""
    images, texts, attributes = [], [], []
    for batch in tqdm(DataLoader(pairs, BATCH_SIZE, collate_fn=pretraining_collate), desc="faces"):
        attributes.append(batch.pop("attributes"))
        outputs = model(**batch)
        images.append(outputs.image_embeds)
        texts.append(outputs.text_embeds)
    return tuple(torch.cat(parts).numpy() for parts in (images, texts, attributes))


@torch.inference_mode()
def measure(name: str, num_photos: int) -> tuple[dict[str, float], dict[str, float]]:
    """All scores, and each attribute's share of the more frequent answer."""
    folder = str(checkpoint(name))
    model, processor = AutoModel.from_pretrained(folder, dtype="float32").eval(), AutoProcessor.from_pretrained(folder)
    rows = load_face_dataset("synthetic_faces", num_photos={"train": 0, "validation": 0, "test": num_photos})["test"]
    transform = PretrainingTransform(processor.image_processor, processor.tokenizer, augmentation="none")
    images, texts, attributes = embed(model, PretrainingPairs(rows, transform, with_attributes=True))
    evaluation = RetrievalEvaluation(processor.tokenizer)
    scores = evaluation.scores(images, texts, attributes, evaluation.prompt_embeds(model))
    more_frequent = {}
    for attribute in ATTRIBUTE_PROMPTS:
        truth = attributes[:, CELEBA_ATTRIBUTES.index(attribute)]
        share = float((truth == 1).sum() / max((truth >= 0).sum(), 1))
        more_frequent[attribute] = max(share, 1 - share)
    return scores | {"num_faces": len(images)}, more_frequent


@torch.inference_mode()
def measure_photographs(name: str, folder: Path) -> dict[str, tuple[int, int, float]]:
    """Faces with the attribute, all faces, and area under the ROC curve, of each attribute that has sentences."""
    model, processor = (kind.from_pretrained(str(checkpoint(name))) for kind in (AutoModel, AutoProcessor))
    sentences = RetrievalEvaluation(processor.tokenizer).prompt_embeds(model.float().eval())
    margins: dict[str, dict[bool, list[float]]] = {}
    for photo, content in json.loads((folder / "reference.json").read_text()).items():
        faces = [face for face in content["faces"] if face["attributes"] and face["keypoints"]]
        if not faces:
            continue
        picture = Image.open(folder / f"{photo}.jpg").convert("RGB")
        for face in faces:
            inputs = processor.image_processor(picture, keypoints=[[face["keypoints"]]], return_tensors="pt")
            image = model.get_image_features(inputs["pixel_values"]).pooler_output[0].numpy()
            for attribute in sentences.keys() & face["attributes"].keys():
                has, lacks = ((among @ image).max() / np.linalg.norm(image) for among in sentences[attribute])
                if face["attributes"][attribute] is not None:
                    of_attribute = margins.setdefault(attribute, {True: [], False: []})
                    of_attribute[face["attributes"][attribute]].append(float(has - lacks))
    return {
        attribute: (
            len(of[True]),
            len(of[True]) + len(of[False]),
            float((np.array(of[True])[:, None] > np.array(of[False])).mean()),
        )
        for attribute, of in sorted(margins.items())
        if of[True] and of[False]
    }


def print_tables(scores: dict[str, float], more_frequent: dict[str, float]) -> None:
    """Markdown."""
    print(
        f"\n{scores['num_faces']} faces, galleries of {scores['gallery_size']}.\n\n| retrieval | at 1 | at 5 | at 10 |"
    )
    print("|---|---|---|---|")
    for way in ("text_to_image", "image_to_text"):
        recalls = " | ".join(f"{scores[f'{way}_recall_at_{rank}']:.3f}" for rank in (1, 5, 10))
        print(f"| {way.replace('_', ' ')} | {recalls} |")
    print("\n| attribute | zero-shot accuracy | more frequent answer | balanced accuracy |\n|---|---|---|---|")
    names = sorted(more_frequent, key=lambda name: -scores[f"zero_shot_balanced_accuracy_{name}"])
    for name in names:
        accuracy, balanced = (scores[f"zero_shot_{kind}accuracy_{name}"] for kind in ("", "balanced_"))
        print(f"| {name} | {accuracy:.3f} | {more_frequent[name]:.3f} | {balanced:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="farl-tiny", help="Checkpoint with both encoders.")
    parser.add_argument(
        "--photos", type=int, default=1200, help="Rendered photos of the test split; some are skipped."
    )
    parser.add_argument("--json", type=Path, help="Also write all scores here.")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="reference.json and photos to use instead.")
    arguments = parser.parse_args()
    if arguments.photographs:
        areas = measure_photographs(arguments.model, arguments.photographs)
        if arguments.json:
            arguments.json.write_text(
                json.dumps({name: area for name, (_, _, area) in areas.items()}, indent=2) + "\n"
            )
        print("| attribute | faces with it | faces | area under the curve |\n|---|---|---|---|")
        for attribute, (has, count, area) in areas.items():
            print(f"| {attribute} | {has} | {count} | {area:.3f} |")
        return
    scores, more_frequent = measure(arguments.model, arguments.photos)
    if arguments.json:
        arguments.json.write_text(json.dumps(scores, indent=2) + "\n")
    print_tables(scores, more_frequent)


if __name__ == "__main__":
    main()
