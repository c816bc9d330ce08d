"""Runs Python blocks and `farl-hf` commands, each in a process of its own that has imported the slow packages already.

Started by `test_document_blocks.py` with the environment of the blocks. It reads the arguments of `run`, a line of
JSON each, and answers with the exit status of the process that it forked. farl_hf itself is not imported here: a block
that forgets the import must fail.
"""

import importlib
import json
import os
import sys
import traceback
import types

PRELOADED = (
    "torch", "torchvision.transforms.v2.functional", "numpy", "PIL.Image", "cv2", "typer", "rich.console", "datasets",
    "evaluate", "skimage.data", "safetensors.torch", "transformers.modeling_utils", "transformers.pipelines",
    "transformers.models.auto", "transformers.image_processing_backends", "transformers.processing_utils",
)  # fmt: skip


def run(folder, words, code, output):
    """Replaces this process's standard streams and place, and runs a block (`code`) or `farl-hf` (`words`)."""
    os.chdir(folder)
    os.environ["HOME"] = folder
    with open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    importlib.import_module("huggingface_hub.constants").HF_HUB_OFFLINE = True
    if code:
        module = types.ModuleType("__main__")  # dataclasses and pickles look their module up
        sys.modules["__main__"], sys.path[0] = module, folder
        exec(compile(code, "block", "exec"), vars(module))  # noqa: S102
    else:
        sys.argv = words
        importlib.import_module("farl_hf.cli").main()


def status_of(request):
    """Exit status of a forked process."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 0
    try:
        run(**request)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        sys.stdout.write(f"{status_of(json.loads(line))}\n")
        sys.stdout.flush()
