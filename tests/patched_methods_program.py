"""Compares what Transformers and the Hub's client hold before and after `import farl_hf`; run in a fresh process.

By identity, of their modules and classes. The values are kept alive, so that no new object can have the identity of an
old one.
"""

import importlib
import inspect
import sys

LIBRARIES = ("transformers", "huggingface_hub")
LOADED = [
    "transformers.image_processing_base",
    "transformers.image_processing_utils",
    "transformers.image_processing_backends",
    "transformers.modeling_utils",
    "transformers.configuration_utils",
    "transformers.processing_utils",
    "transformers.trainer",
    "transformers.tokenization_utils_base",
    "transformers.models.clip.tokenization_clip",
    "transformers.utils.hub",
    "transformers.dynamic_module_utils",
    "transformers.pipelines",
    "transformers.pipelines.base",
    "transformers.models.auto.auto_factory",
    "transformers.models.auto.configuration_auto",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.auto.processing_auto",
    "huggingface_hub.hf_api",
    "huggingface_hub.utils",
    "huggingface_hub.file_download",
    "huggingface_hub._snapshot_download",
    "huggingface_hub.hub_mixin",
]
SEEN = [
    "transformers.modeling_utils.PreTrainedModel",
    "transformers.utils.hub.PushToHubMixin",
    "transformers.trainer.Trainer",
    "transformers.pipelines.base.Pipeline",
    "transformers.image_processing_utils.BaseImageProcessor",
    "transformers.processing_utils.ProcessorMixin",
    "transformers.configuration_utils.PreTrainedConfig",
    "transformers.tokenization_utils_base.PreTrainedTokenizerBase",
    "huggingface_hub.hf_api.HfApi",
    "transformers.models.auto.auto_factory._BaseAutoModelClass",
]
CLIENT_FACTORY = ("huggingface_hub.utils._http", "_GLOBAL_CLIENT_FACTORY")


def modules_of(*libraries):
    """The loaded modules of libraries, by name."""
    loaded = sorted(sys.modules.items())
    return {name: one for name, one in loaded if name.split(".")[0] in libraries and inspect.ismodule(one)}


def defined_in(module, kind):
    """What a module defines itself."""
    return [one for one in list(vars(module).values()) if kind(one) and one.__module__ == module.__name__]


def held():
    """(owner, attribute) -> value, of every module, class and function of both libraries."""
    found = {}
    for name, module in modules_of(*LIBRARIES).items():
        for attribute, value in list(vars(module).items()):
            if inspect.isroutine(value) or inspect.isclass(value) or (name, attribute) == CLIENT_FACTORY:
                found[name, attribute] = value
        for owner in defined_in(module, inspect.isclass):
            for attribute, value in list(vars(owner).items()):
                found[f"{name}.{owner.__qualname__}", attribute] = value
        for function in defined_in(module, inspect.isfunction):
            found[f"{name}.{function.__qualname__}", "__code__"] = function.__code__
    return found


def differences(before):
    """What was replaced or added since; not names that a module loads lazily."""
    after, owners = held(), {owner for owner, _ in before}
    replaced = {key for key, value in before.items() if after.get(key) is not value}
    return replaced | {key for key in after.keys() - before.keys() if key[0] in owners - sys.modules.keys()}


def replaced_methods_of_ours():
    """Functions in our classes that do not stand in the bodies of these."""
    return [
        (owner, attribute)
        for module in modules_of("farl_hf").values()
        for owner in defined_in(module, inspect.isclass)
        for attribute, value in vars(owner).items()
        if inspect.isfunction(value)
        and value.__module__.split(".")[0] in (*LIBRARIES, "farl_hf")
        and value.__qualname__ != f"{owner.__qualname__}.{attribute}"
    ]


def main():
    """Import everything, compare, and see that the comparison finds what it is for."""
    for name in LOADED:
        importlib.import_module(name)
    before = held()
    assert set(SEEN) <= {owner for owner, _ in before}

    import farl_hf

    for name in farl_hf.__all__:
        getattr(farl_hf, name)
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    assert farl_hf.FaRLConfig in MODEL_MAPPING  # the registrations have run
    assert differences(before) == {CLIENT_FACTORY}, differences(before)
    assert replaced_methods_of_ours() == []

    from transformers import PreTrainedModel, Trainer

    kept = PreTrainedModel.push_to_hub, Trainer.save_model, farl_hf.FaRLModel.push_to_hub
    PreTrainedModel.push_to_hub = Trainer.save_model = farl_hf.FaRLModel.push_to_hub = lambda *_: None
    found = differences(before) - {CLIENT_FACTORY}
    patched = {
        ("transformers.modeling_utils.PreTrainedModel", "push_to_hub"),
        ("transformers.trainer.Trainer", "save_model"),
    }
    assert found == patched, found
    PreTrainedModel.push_to_hub, Trainer.save_model, farl_hf.FaRLModel.push_to_hub = kept


if __name__ == "__main__":
    main()
