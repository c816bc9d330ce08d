"""Face parsing with the Trainer of Transformers: one file to read and to change.

    python examples/finetune_parsing.py --output-dir runs/my-parsing
    python examples/finetune_parsing.py --model farl --dataset lapa --data-dir data/LaPa \
        --output-dir runs/lapa --bf16
    torchrun --nproc_per_node 8 examples/finetune_parsing.py --output-dir runs/my-parsing
    torchrun --nproc_per_node 8 examples/finetune_parsing.py --output-dir runs/my-parsing \
        --deepspeed examples/deepspeed/zero3.json

All options of `transformers.TrainingArguments` work. The paper's whole recipes are behind `farl-hf train`.
"""

from dataclasses import dataclass, field

import evaluate
import torch
from transformers import Trainer, TrainingArguments, set_seed

import farl_hf
from farl_hf.checkpoints.checked_loading import load_image_processor, load_with_new_parts
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.labels import LAPA_LABELS
from farl_hf.training.arguments import ScriptParser, errors_as_sentences
from farl_hf.training.finetuning import NEW_PARTS
from farl_hf.training.runs import start_stock_training
from farl_hf.training.trainer import FiniteWeightsCallback, SampleEpochCallback, errors_of_training

NUM_RENDERED = {"train": 2000, "test": 200}


@dataclass
class Settings:
    """What is trained, and on what."""

    model: str = field(
        default="farl-tiny-parsing", metadata={"help": "Checkpoint to start from; where it has no head, a new one."}
    )
    dataset: str = field(default="synthetic_faces", metadata={"help": "A data set with the 11 classes of LaPa."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of a published data set."})
    num_train_photos: int | None = field(
        default=None, metadata={"help": "Photos to train with; all by default, 2,000 rendered ones."}
    )
    num_test_photos: int | None = field(
        default=None, metadata={"help": "Photos to evaluate with; all by default, 200 rendered ones."}
    )
    augmentation: str = field(default="lapa_parsing", metadata={"help": "Random changes to the faces, or `none`."})


@dataclass
class Arguments(TrainingArguments):
    """Other defaults of some of the Trainer's options."""

    learning_rate: float = field(default=3e-4, metadata={"help": "Highest learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Faces per device and step."})
    eval_accumulation_steps: int | None = field(default=8, metadata={"help": "Batches before predictions leave it."})


def class_ids(logits, labels):
    """The winning classes at the labels' resolution: one byte per pixel waits for the scores, not 11 floats."""
    upsampled = torch.nn.functional.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear")
    return upsampled.argmax(dim=1).byte()


def main():
    settings, args = ScriptParser((Settings, Arguments), description=__doc__).parse_args_into_dataclasses()
    start_stock_training(args)
    set_seed(args.seed)

    given = {"train": settings.num_train_photos, "test": settings.num_test_photos}
    usual = NUM_RENDERED if settings.dataset == "synthetic_faces" else {}
    num_photos = usual | {split: count for split, count in given.items() if count is not None}
    with args.main_process_first(desc="preparing the data set"):
        rows = {
            split: farl_hf.load_face_dataset(
                settings.dataset, data_dir=settings.data_dir, split=split, num_photos=num_photos
            )
            for split in given
        }
    names = dict(enumerate(LAPA_LABELS))
    processor = load_image_processor(farl_hf.FaRLImageProcessor, settings.model)
    # Pyramid and head may be new; whatever else the checkpoint lacks is an error.
    model, _ = load_with_new_parts(
        farl_hf.FaRLForFaceParsing,
        settings.model,
        NEW_PARTS,
        id2label=names,
        label2id={name: i for i, name in names.items()},
        dtype="float32",
    )

    f1 = evaluate.load(farl_hf.metric("face_parsing_f1"))

    def scores(prediction):
        return f1.compute(
            predictions=prediction.predictions, references=prediction.label_ids, label_names=list(names.values())
        )

    trainer = Trainer(
        model,
        args,
        train_dataset=FaceSamples(rows["train"], processor, "parsing", settings.augmentation, seed=args.seed),
        eval_dataset=FaceSamples(rows["test"], processor, "parsing"),
        data_collator=collate_face_samples,
        processing_class=processor,
        compute_metrics=scores,
        callbacks=[FiniteWeightsCallback(), SampleEpochCallback()],
        preprocess_logits_for_metrics=class_ids,
    )
    with errors_of_training(args):
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()  # the folder loads as pipeline("face-parsing", model=...)
    trainer.log_metrics("eval", trainer.evaluate())
    if args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    with errors_as_sentences():
        main()
