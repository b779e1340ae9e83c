"""Small configurations of transformers' architectures: few layers, narrow, a short vocabulary, and still valid."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

LAYERS = re.compile(
    r"n_layers?|num_layers?|n_layer|depth|layers|num_blocks?|num_hidden_groups|.*_(layers|depth)|.*num_blocks"
)
HEADS = re.compile(r"n_heads?|num_heads?|.*num_.*heads|.*_heads")
EXPERTS = re.compile(r"(num_|n_routed_|num_local_|moe_num_|n_)experts")
CHOSEN = re.compile(r"num_experts_per_tok(en)?|moe_topk|moe_k")
GROUPS = re.compile(r"n_group|topk_group|num_expert_groups")
WORDS = re.compile(r".*(vocab_size|vocab|num_embeddings|codebook_size)")
WIDTHS = re.compile(
    r".*(hidden_sizes?|d_model|embed_dims?|n_embd|_dims?|intermediate_size|ffn|d_ff|d_inner|width|hidden_dim|inner_size"
    r"|_size_per.*|mlp_dim|channels?|conv_dim|embedding_size|d_kv|lru_width|n_inner|d_state_.*)|dims?"
)
NO_WIDTHS = re.compile(
    r".*(num_channels|in_channels|out_channels|in_chans|image|patch|kernel|vocab|stride|head_dim|rope|rotary|position"
    r"|window|token|cross_attention_dim_).*"
)
PLACES = re.compile(r".*(deepstack|fullatt_block|_layers|_indexes|global_attn).*")
# What is of the model that the configuration came with.
DROPPED = {
    *("transformers_version", "model_type", "_name_or_path", "architectures", "id2label", "label2id", "problem_type"),
    *("return_dict", "output_hidden_states", "output_attentions", "dtype", "torch_dtype", "num_labels"),
}
MOST_WORDS, TOKENS = 1024, 997


def candidates(kind: type[Any]) -> Iterator[Callable[[], Any]]:
    """Configurations from small to the default one; which can be built is found out by building."""
    default = kind().to_dict()
    for factor in (8, 4, 16, 2, 3, 6, 1):
        yield lambda factor=factor: kind(**shrunk(default, factor, words=True))
    yield lambda: kind(**shrunk(default, 1, words=False))
    yield kind


def shrunk(config: dict[str, Any], factor: int, *, words: bool) -> dict[str, Any]:
    """A configuration with widths over `factor`."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in DROPPED:
            continue
        if isinstance(value, dict):
            inner = shrunk(value, factor, words=words)
            kept = {"model_type": value["model_type"]} if "model_type" in value else {}
            found[name] = {**inner, **kept} if name.endswith("config") or kept else value
        elif isinstance(value, bool) or value is None:
            found[name] = value
        elif isinstance(value, int):
            found[name] = _number(name, value, factor, words=words)
        elif isinstance(value, (list, tuple)):
            if name.endswith(("layer_types", "_types", "layers_block_type")) and len(value) > 4:
                continue
            found[name] = _numbers(name, list(value), factor, words=words)
        else:
            found[name] = value
    return found


def _number(name: str, value: int, factor: int, *, words: bool) -> int:
    if LAYERS.fullmatch(name):
        return min(value, 2)
    if EXPERTS.fullmatch(name):
        return min(value, 4)
    if CHOSEN.fullmatch(name):
        return min(value, 2)
    if GROUPS.fullmatch(name) or name == "first_k_dense_replace":
        return 1
    if WORDS.fullmatch(name):
        return min(value, MOST_WORDS) if words else value
    if name.endswith("token_id"):
        return value % TOKENS if words and value >= MOST_WORDS else value
    if HEADS.fullmatch(name):
        return max(1, value // factor)
    if WIDTHS.fullmatch(name) and not NO_WIDTHS.fullmatch(name) and value % factor == 0 and value >= 32:
        return value // factor
    return value


def _numbers(name: str, values: list[Any], factor: int, *, words: bool) -> list[Any]:
    if not values or not all(isinstance(one, int) and not isinstance(one, bool) for one in values):
        return values
    if name in ("depths", "layers", "num_layers"):
        return [min(one, 1) for one in values]
    if name.endswith("token_id"):
        return [one % TOKENS for one in values] if words else values
    if WIDTHS.fullmatch(name) and not NO_WIDTHS.fullmatch(name):
        return [one // factor if one % factor == 0 and one >= 32 else one for one in values]
    if HEADS.fullmatch(name):
        return [max(1, one // factor) for one in values]
    if PLACES.fullmatch(name) and max(values) >= 2:
        return [min(one, 1) for one in values[:1]]
    return values
