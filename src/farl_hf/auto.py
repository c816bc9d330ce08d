"""Makes the models, processors and pipelines known to Transformers' Auto classes and `pipeline`.

Registration needs the classes, and the classes need `transformers.PreTrainedModel`, whose import takes seconds. So
each part is registered once Transformers itself has loaded the module that holds the matching Auto classes: at once if
that has happened already, else when the import that loads it is over. `import farl_hf` stays quick either way.
"""

import contextlib
import importlib.abc
import importlib.machinery
import sys
import threading
from typing import Any


def _register_configs():
    from transformers import AutoConfig

    from .modeling import configuration_farl as farl
    from .modeling.configuration_face_decoder import FaceDecoderConfig
    from .modeling.configuration_face_transformer import FaceTransformerConfig
    from .modeling.configuration_retinaface import RetinaFaceConfig

    ours = (
        farl.FaRLConfig,
        farl.FaRLTextConfig,
        farl.FaRLVisionConfig,
        RetinaFaceConfig,
        FaceTransformerConfig,
        FaceDecoderConfig,
    )
    for config in ours:
        AutoConfig.register(config.model_type, config, exist_ok=True)


def _register_models():
    import transformers
    from transformers.conversion_mapping import register_checkpoint_conversion_mapping
    from transformers.core_model_loading import PrefixChange

    for auto_name, model_class in auto_models():
        getattr(transformers, auto_name).register(model_class.config_class, model_class, exist_ok=True)
    # An encoder alone loads from a checkpoint of both only if its prefix is known; else every weight would be random.
    for encoder, prefix in (("FaRLVisionModel", "vision_model"), ("FaRLTextModel", "text_model")):
        changes: list[Any] = [PrefixChange(prefix_to_remove=prefix)]  # the function's annotation lacks this class
        register_checkpoint_conversion_mapping(encoder, changes, overwrite=True)


def _name_small_models():
    from .checkpoints.embedded_models import log_if_small
    from .modeling.pretrained_model_farl import WHEN_LOADED

    WHEN_LOADED.append(log_if_small)


def _register_image_processors():
    from transformers import AutoImageProcessor

    from . import modeling, processing

    for config, processor in (
        (modeling.FaRLConfig, processing.FaRLImageProcessor),
        (modeling.RetinaFaceConfig, processing.RetinaFaceImageProcessor),
    ):
        AutoImageProcessor.register(config, image_processor_classes={"torchvision": processor}, exist_ok=True)


def _register_tokenizer():
    from transformers import AutoTokenizer

    from .modeling import FaRLConfig
    from .processing import FaRLTokenizer

    AutoTokenizer.register(FaRLConfig, tokenizer_class=FaRLTokenizer, exist_ok=True)


def _register_processor():
    from transformers import AutoProcessor

    from .modeling import FaRLTextConfig
    from .processing import FaRLProcessor

    # Checkpoints of images and texts are found by the class that their folder names. Under FaRLConfig the class would
    # also be taken for checkpoints of faces, which share that configuration but have an image processor only.
    AutoProcessor.register(FaRLTextConfig, FaRLProcessor, exist_ok=True)


def _register_pipelines():
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    from .checkpoints import checkpoint
    from .checkpoints.checked_loading import auto_class_for_pipelines
    from .pipelines import PIPELINES

    for task, (pipeline_class, auto_name, default_checkpoint) in PIPELINES.items():
        PIPELINE_REGISTRY.register_pipeline(
            task,
            pipeline_class=pipeline_class,
            pt_model=auto_class_for_pipelines(getattr(transformers, auto_name), pipeline_class.model_name),
            default={"model": (str(checkpoint(default_checkpoint)), "main")},
            type="image",
        )


def _answer_for_our_names():
    from huggingface_hub import constants

    from .checkpoints.embedded_models import link_embedded_checkpoints
    from .checkpoints.hub_client import install_hub_client

    install_hub_client()
    if constants.HF_HUB_OFFLINE:  # nobody will be asked
        link_embedded_checkpoints()


def auto_models() -> list[tuple[str, type[Any]]]:
    """Return the name of each auto class with each model class that it loads.

    Where a configuration serves several models, `architectures` of a checkpoint selects.
    """
    from . import modeling
    from .modeling.pretrained_model_farl import AUTO_CLASSES

    plain = [("AutoModel", name) for name in ("FaRLModel", "RetinaFaceForFaceDetection")]
    named = [*plain, *((auto_name, name) for name, auto_name in AUTO_CLASSES.items())]
    return [(auto_name, getattr(modeling, name)) for auto_name, name in named]


# Module that must be loaded before a part can be, and is worth being, registered.
_REGISTRATIONS = {
    "huggingface_hub.utils": _answer_for_our_names,
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.image_processing_auto": _register_image_processors,
    "transformers.models.auto.tokenization_auto": _register_tokenizer,
    "transformers.models.auto.processing_auto": _register_processor,
    "transformers.pipelines": _register_pipelines,
    "farl_hf.modeling.pretrained_model_farl": _name_small_models,  # the last one: those above load that module
}

_WATCHED_PACKAGES = ("transformers.", "huggingface_hub.", "farl_hf.")


class _WatchedLoader(importlib.abc.Loader):
    """A module's own loader, which tells the registrar when an import begins and ends."""

    def __init__(self, loader, registrar):
        self.loader, self.registrar = loader, registrar

    def __getattr__(self, name):
        return getattr(self.loader, name)  # `python -m` and tools that read sources ask for more than importing

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        # The module keeps its own loader from here on.
        module.__spec__.loader = module.__loader__ = self.loader
        with self.registrar.importing():
            self.loader.exec_module(module)


class _Registrar(importlib.abc.MetaPathFinder):
    """Runs the waiting registrations whenever an outermost import from one of the watched packages is over.

    Not earlier: our classes import Transformers modules that would still be half-initialised.
    """

    def __init__(self):
        self.waiting = dict(_REGISTRATIONS)
        self.imports = threading.local()

    def find_spec(self, name, path=None, target=None):
        if not name.startswith(_WATCHED_PACKAGES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _WatchedLoader(spec.loader, self)
        return spec

    @contextlib.contextmanager
    def importing(self):
        """Count nested imports of this thread; register when the outermost one has succeeded."""
        depth = getattr(self.imports, "depth", 0)
        self.imports.depth = depth + 1
        try:
            yield
        finally:
            self.imports.depth = depth
        if depth == 0:
            self.register_loaded()

    def register_loaded(self):
        """Run each waiting registration whose module is loaded, in the order of the table; leave after the last."""
        for name in list(self.waiting):
            if name in sys.modules and name in self.waiting:
                register = self.waiting.pop(name)
                self.imports.depth = 1
                try:
                    register()
                finally:
                    self.imports.depth = 0
        if not self.waiting:  # a new list, because another thread may be iterating over the old one
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]


_registrar = _Registrar()


def register_with_transformers():
    """Register everything, now where Transformers is loaded and on its import where it is not. Idempotent."""
    if _registrar.waiting and _registrar not in sys.meta_path:
        sys.meta_path.insert(0, _registrar)
    _registrar.register_loaded()


def ship_code():
    """From now on, let `save_pretrained` write the code beside the weights.

    That is: of our models, image processors, tokenizers and processors. What they write loads without farl_hf, with
    `trust_remote_code=True`. Not done on import, because every checkpoint of a training run would carry the code;
    `push_to_hub` does it by itself. `farl-hf push` adds the pipelines.
    """
    from . import processing

    for auto_name, model_class in auto_models():
        model_class.config_class.register_for_auto_class()
        model_class.register_for_auto_class(auto_name)
    for name in ("FaRLImageProcessor", "RetinaFaceImageProcessor", "FaRLTokenizer", "FaRLProcessor"):
        getattr(processing, name).register_for_auto_class()
