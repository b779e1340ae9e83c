"""How long recording takes, over the time of building the same model on the meta device; and of finding its laws."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable

import torch
from torch import nn

from fastinit.torch.builds import built
from fastinit.torch.origins import recorded_origins

MOST = 3.0  # times as long
ROUNDS = 5  # of which the fastest counts

TRANSFORMERS = {
    "Llama": ("LlamaConfig", "LlamaForCausalLM"),
    "GPT-2": ("GPT2Config", "GPT2LMHeadModel"),
    "BERT": ("BertConfig", "BertModel"),
    "Mixtral": ("MixtralConfig", "MixtralForCausalLM"),
    "DeepSeek-V3": ("DeepseekV3Config", "DeepseekV3ForCausalLM"),
    "ViT": ("ViTConfig", "ViTModel"),
}


def models() -> dict[str, Callable[[], nn.Module]]:
    """Models of the sizes that their default configurations have."""
    library = importlib.import_module("transformers")

    def build(config: str, model: str) -> nn.Module:
        made: nn.Module = getattr(library, model)(getattr(library, config)())
        return made

    found: dict[str, Callable[[], nn.Module]] = {
        name: lambda kinds=kinds: build(*kinds) for name, kinds in TRANSFORMERS.items()
    }
    return {**found, "ConvNeXt (timm)": lambda: importlib.import_module("timm").create_model("convnext_base")}


def times(build: Callable[[], nn.Module]) -> tuple[float, float, float]:
    """Seconds of the CPU: to build on the meta device, to record, to find the laws of all parameters."""

    def on_meta() -> None:
        with torch.device("meta"):
            build()

    on_meta()  # what is imported at the first use
    best = [float("inf")] * 3
    for _ in range(ROUNDS):
        model = built(build)
        assert model.recording is not None
        recording, module = model.recording, model.module
        named = list(module.named_parameters())
        for i, run in enumerate(
            (on_meta, lambda: built(build), lambda: recorded_origins(module, recording, named, ""))  # noqa: B023
        ):
            gc.collect()
            start = time.process_time()
            run()
            best[i] = min(best[i], time.process_time() - start)
    return best[0], best[1], best[2]


def report() -> bool:
    """Print a line a model; whether all are under the bound."""
    good = True
    for name, build in models().items():
        meta, recorded, answered = times(build)
        good &= recorded < MOST * meta
        print(
            f"time: {name}: built on meta in {meta * 1e3:.0f} ms, recorded in {recorded * 1e3:.0f} ms "
            f"({recorded / meta:.1f} times, at most {MOST:.0f}), laws found in {answered * 1e3:.0f} ms"
        )
    return good
