"""What a user does with bare names; run in a fresh process, in an empty folder, whose network is dead.

Writes JSON: what each call gave, how long it waited, and which requests about our names got past our client.
"""

import json
import sys
import time

import huggingface_hub
from huggingface_hub.utils import httpx

asked, waits_seconds = [], []
really_sleep = time.sleep


class DeadNetwork(httpx.BaseTransport):
    """Any request that comes here would have gone to the network."""

    def handle_request(self, request):
        asked.append(str(request.url))
        raise httpx.ConnectError("the network is dead")


def sleep(seconds):
    """Count what a client waits before it asks again; how long a call takes depends on the machine."""
    waits_seconds.append(seconds)
    really_sleep(seconds)


time.sleep = sleep
huggingface_hub.set_client_factory(lambda: httpx.Client(transport=DeadNetwork(), follow_redirects=True))

import transformers  # noqa: E402

import farl_hf  # noqa: E402


def outcome(call):
    """Class of a call's result, the seconds that it waited, and the message if it failed."""
    waits_seconds.clear()
    try:
        result, message = call(), ""
    except Exception as error:
        result, message = error, str(error)
    return {"class": type(result).__name__, "waited_seconds": sum(waits_seconds), "message": message}


CALLS = {
    "config": lambda: transformers.AutoConfig.from_pretrained("farl"),
    "model": lambda: transformers.AutoModel.from_pretrained("farl"),
    "processor": lambda: transformers.AutoProcessor.from_pretrained("farl"),
    "tokenizer": lambda: transformers.AutoTokenizer.from_pretrained("farl"),
    "image processor": lambda: transformers.AutoImageProcessor.from_pretrained("farl"),
    "zero-shot": lambda: transformers.pipeline("zero-shot-image-classification", model="farl"),
    "parsing": lambda: transformers.pipeline("face-parsing", model="farl-lapa-448"),
    "embedded": lambda: transformers.pipeline("face-parsing", model="farl-tiny-parsing"),
    "embedded alias": lambda: transformers.pipeline("face-detection", model="retinaface-tiny"),
    "embedded model": lambda: transformers.AutoModel.from_pretrained("farl-tiny"),
    "embedded backbone": lambda: transformers.AutoBackbone.from_pretrained("farl-tiny", out_indices=[-1, -2]),
    "embedded processor": lambda: transformers.AutoProcessor.from_pretrained("farl-tiny"),
    "embedded tokenizer": lambda: transformers.AutoTokenizer.from_pretrained("farl-tiny"),
    "embedded image processor": lambda: transformers.AutoImageProcessor.from_pretrained("farl-tiny-parsing"),
    "snapshot": lambda: huggingface_hub.snapshot_download("farl"),
    "folder": lambda: farl_hf.checkpoint("farl"),
    "missing model": lambda: transformers.AutoModel.from_pretrained("farl-wflw-448"),
    "missing processor": lambda: transformers.AutoProcessor.from_pretrained("farl-wflw-448"),
    "missing pipeline": lambda: transformers.pipeline("face-landmarks", model="farl-wflw-448"),
}

if __name__ == "__main__":
    outcomes = {name: outcome(CALLS[name]) for name in sys.argv[1:] or CALLS}
    report = {"outcomes": outcomes, "asked": [url for url in asked if "farl" in url]}
    sys.stdout.write(f"{json.dumps(report)}\n")
