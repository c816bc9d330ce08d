"""What `import farl_hf` does in a fresh process: registration in every order of imports, and no replaced method."""

import subprocess
import sys
from pathlib import Path

import pytest

QUICK = """
import sys
from pathlib import Path
import farl_hf
heavy = [name for name in ("transformers.modeling_utils", "torchvision", "datasets", "cv2") if name in sys.modules]
assert not heavy, heavy
"""
REGISTERED = """
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers import AutoModelForKeypointDetection, AutoModelForObjectDetection, AutoModelForSemanticSegmentation
from transformers import AutoModelForZeroShotImageClassification, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

small = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
towers = {"vision_config": small, "text_config": small | {"vocab_size": 9}, "head_channels": 8}
vision = AutoConfig.for_model("farl_vision_model", **small)
text = AutoConfig.for_model("farl_text_model", **towers["text_config"])
farl = AutoConfig.for_model("farl", **towers)
retinaface = AutoConfig.for_model("retinaface")
decoder = AutoConfig.for_model("face_decoder")
expected = (
    (AutoModel, farl, "FaRLModel"),
    (AutoModel, vision, "FaRLVisionModel"),
    (AutoModel, text, "FaRLTextModel"),
    (AutoModelForSemanticSegmentation, farl, "FaRLForFaceParsing"),
    (AutoModelForKeypointDetection, farl, "FaRLForLandmarks"),
    (AutoModelForImageClassification, farl, "FaRLForAttributes"),
    (AutoModelForZeroShotImageClassification, farl, "FaRLModel"),
    (AutoBackbone, vision, "FaRLBackbone"),
    (AutoModelForObjectDetection, retinaface, "RetinaFaceForFaceDetection"),
    (AutoModel, decoder, "FaceDecoderModel"),
)
for auto_class, config, name in expected:
    model = auto_class.from_config(config)
    assert type(model).__name__ == name, (auto_class, type(model))
    assert isinstance(model, PreTrainedModel)
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING

assert PROCESSOR_MAPPING[type(text)].__name__ == "FaRLProcessor"
assert "FaRLTokenizer" in str(TOKENIZER_MAPPING[type(farl)])
tasks = PIPELINE_REGISTRY.get_supported_tasks()
assert {"face-detection", "face-parsing", "face-landmarks", "face-attributes"} <= set(tasks), tasks
"""
PATCHED_METHODS = Path(__file__).with_name("patched_methods_program.py")
# Everything of Transformers is imported first, and looked at before and after.
NOTHING_REPLACED = f"import runpy; runpy.run_path({str(PATCHED_METHODS)!r}, run_name='__main__')\n"
ORDERS = {
    "farl_hf first": QUICK + REGISTERED,
    "transformers first": NOTHING_REPLACED + REGISTERED,
    "a model between": QUICK + "from transformers import CLIPModel\nimport farl_hf\n" + REGISTERED,
}


@pytest.fixture(scope="module")
def processes():
    """All orders at once: each spends seconds on imports."""
    return {
        name: subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, code in ORDERS.items()
    }


@pytest.mark.parametrize("order", ORDERS)
def test_importing_is_quick_registers_everything_and_replaces_nothing(processes, order):
    _, errors = processes[order].communicate(timeout=120)
    assert processes[order].returncode == 0, errors[-2000:]


def test_modules_of_the_package_still_run_with_python_m():
    command = [sys.executable, "-m", "farl_hf.checkpoints.packing", "--help"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "run_folder" in finished.stdout
