"""Facial landmarks with the Trainer of Transformers: one file to read and to change.

    python examples/finetune_landmarks.py --output-dir runs/my-landmarks
    python examples/finetune_landmarks.py --model farl --dataset wflw --data-dir data/WFLW \
        --output-dir runs/wflw --bf16
    torchrun --nproc_per_node 8 examples/finetune_landmarks.py --output-dir runs/my-landmarks
    torchrun --nproc_per_node 8 examples/finetune_landmarks.py --output-dir runs/my-landmarks \
        --deepspeed examples/deepspeed/zero3.json

All options of `transformers.TrainingArguments` work. The paper's whole recipes are behind `farl-hf train`.
"""

from dataclasses import dataclass, field

import evaluate
from transformers import Trainer, TrainingArguments, set_seed

import farl_hf
from farl_hf.checkpoints.checked_loading import load_image_processor, load_with_new_parts
from farl_hf.data.samples.face_samples import FaceSamples, collate_face_samples
from farl_hf.training.arguments import ScriptParser, errors_as_sentences
from farl_hf.training.finetuning import NEW_PARTS
from farl_hf.training.runs import start_stock_training
from farl_hf.training.trainer import FiniteWeightsCallback, SampleEpochCallback, errors_of_training

NUM_RENDERED = {"train": 2000, "test": 200}


@dataclass
class Settings:
    """What is trained, and on what."""

    model: str = field(
        default="farl-tiny-landmarks", metadata={"help": "Checkpoint to start from; where it has no head, a new one."}
    )
    dataset: str = field(default="synthetic_faces", metadata={"help": "A data set with landmarks."})
    data_dir: str | None = field(default=None, metadata={"help": "Folder of a published data set."})
    num_train_photos: int | None = field(
        default=None, metadata={"help": "Photos to train with; all by default, 2,000 rendered ones."}
    )
    num_test_photos: int | None = field(
        default=None, metadata={"help": "Photos to evaluate with; all by default, 200 rendered ones."}
    )
    augmentation: str = field(default="wflw_landmarks", metadata={"help": "Random changes to the faces, or `none`."})


@dataclass
class Arguments(TrainingArguments):
    """Other defaults of some of the Trainer's options."""

    learning_rate: float = field(default=3e-4, metadata={"help": "Highest learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule of the learning rate."})
    per_device_train_batch_size: int = field(default=16, metadata={"help": "Faces per device and step."})
    eval_accumulation_steps: int | None = field(default=8, metadata={"help": "Batches before predictions leave it."})


def points_only(outputs, labels):
    """The points of the answer, without its heat maps."""
    return outputs[-1]


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
    processor = load_image_processor(farl_hf.FaRLImageProcessor, settings.model)
    train_faces = FaceSamples(rows["train"], processor, "landmarks", settings.augmentation, seed=args.seed)
    num_points = len(train_faces[0]["labels"])
    # Pyramid and head may be new; whatever else the checkpoint lacks is an error.
    model, _ = load_with_new_parts(
        farl_hf.FaRLForLandmarks, settings.model, NEW_PARTS, num_labels=num_points, dtype="float32"
    )

    nme = evaluate.load(farl_hf.metric("face_landmarks_nme"))

    def scores(prediction):
        # In shares of the crop; the error is divided by the distance of the eyes, so the unit does not matter.
        return nme.compute(predictions=prediction.predictions, references=prediction.label_ids)

    trainer = Trainer(
        model,
        args,
        train_dataset=train_faces,
        eval_dataset=FaceSamples(rows["test"], processor, "landmarks"),
        data_collator=collate_face_samples,
        processing_class=processor,
        compute_metrics=scores,
        callbacks=[FiniteWeightsCallback(), SampleEpochCallback()],
        preprocess_logits_for_metrics=points_only,
    )
    with errors_of_training(args):
        trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model()  # the folder loads as pipeline("face-landmarks", model=...)
    trainer.log_metrics("eval", trainer.evaluate())
    if args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    with errors_as_sentences():
        main()
