"""Recipes: the rules of whole architectures, ready made. Names and shapes of a model -> the rules of a plan.

    shapes = shapes_of("shapes.json")
    plan = Plan.from_rules(shapes, rules_for("gpt2", shapes), tied=tied_for("gpt2", shapes))

A recipe follows the code it names, also where that differs from the paper; docs/recipes.md says where. It matches the
names it knows (resnet and the two for any network: the shapes) and no others, so that a tensor of another architecture
is an error of the plan, not a guess.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastinit.choices import Scheme
from fastinit.model_numbers import embedding_rule, exactly, length_of, number_of_layers, numbered_blocks, rule
from fastinit.plan import SKIP, Rule, Shapes, entry_of


@dataclass(frozen=True)
class Recipe:
    """The rules of an architecture.

    what     in one line
    source   address of the code it follows, and the place in it
    rules    shapes and numbers of the model -> rules
    shared   (pattern of a name, pattern of the name it shares memory with) in every model of the architecture
    ties     the same, where the configuration decides
    is_tied  what it decides unless it is told otherwise
    """

    name: str
    what: str
    source: str
    rules: Callable[..., list[Rule]]
    shared: tuple[tuple[str, str], ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    is_tied: bool = False

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numbers of the model that can be given."""
        return tuple(inspect.signature(self.rules).parameters)[1:]


def rules_for(recipe: str, shapes: Shapes, **numbers: float) -> list[Rule]:
    """The rules of a recipe for a model with these names and shapes, for `Plan.from_rules`.

    shapes   name -> {"shape": [...], ...} of the whole model, as `fastinit.plan.shapes_of` reads it
    numbers  of the model: those in `RECIPES[recipe].numbers`. What is not given is read from names and shapes, or has
             the default of the code that the recipe follows.

    Raises ValueError for an unknown recipe, a number it has no use for, and one that cannot be read and is not given.
    """
    chosen = _recipe(recipe)
    for name, value in numbers.items():
        if name not in chosen.numbers:
            raise ValueError(
                f"recipe {recipe} has no use for {name}; it takes {', '.join(chosen.numbers) or 'nothing'}"
            )
        if isinstance(value, str) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"recipe {recipe}: {name} is {value!r}; it must be a number, finite and not negative")
    for name, entry in shapes.items():
        entry_of(name, entry)
    return chosen.rules(shapes, **numbers)


def tied_for(recipe: str, shapes: Shapes, *, tie: bool | None = None) -> dict[str, str]:
    """Other name -> name of the tensors that share memory, for `Plan.from_rules(tied=...)`.

    tie  whether the output is the embedding (transformers' `tie_word_embeddings`), which no shape tells; None: as the
         architecture does by default
    """
    chosen = _recipe(recipe)
    tied: dict[str, str] = {}
    for alias, name in (*chosen.shared, *(chosen.ties if (chosen.is_tied if tie is None else tie) else ())):
        names = [one for one in shapes if re.fullmatch(name, one)]
        if names:
            tied |= {one: names[0] for one in shapes if re.fullmatch(alias, one)}
    return tied


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown; there are {', '.join(RECIPES)}")
    return RECIPES[name]


# --- GPT-2 ------------------------------------------------------------------------------------------------------------


def _gpt2(shapes: Shapes, *, std: float = 0.02, layers: float | None = None) -> list[Rule]:
    root = r"(?:transformer\.)?"
    block = rf"{root}h\.\d+\."
    attention = r"(?:attn|crossattention)"
    layers = number_of_layers(shapes, rf"{root}h\.(\d+)\.", rf"{root}ln_f\.weight", layers)
    return [
        # The causal mask, in older checkpoints; the model builds it. It is no bias: zeros would mask everything.
        rule(rf"{block}{attention}\.(?:bias|masked_bias)", SKIP),
        rule(rf"{block}(?:{attention}|mlp)\.c_proj\.weight", "residual_normal", layers=layers, std=std),
        rule(rf"{block}(?:{attention}\.(?:c_attn|q_attn)|mlp\.c_fc)\.weight", "normal", std=std),
        rule(rf"{root}(?:wte|wpe)\.weight", "normal", std=std),
        rule(rf"(?:{block}ln_(?:1|2|cross_attn)|{root}ln_f)\.weight", "ones"),
        rule(rf"(?:{block}.+|{root}ln_f)\.bias", "zeros"),
        *_heads(r"lm_head|score|classifier|qa_outputs|multiple_choice_head\.summary", std),
    ]


def _heads(names: str, std: float) -> list[Rule]:
    """Linear layers on top of a model of transformers, which its base class draws."""
    return [rule(rf"(?:{names})\.weight", "normal", std=std), rule(rf"(?:{names})\.bias", "zeros")]


# --- Llama ------------------------------------------------------------------------------------------------------------

_LLAMA = r"(?:model\.|transformer\.)?"


def _llama(shapes: Shapes, *, std: float = 0.02, padding: float | None = None) -> list[Rule]:
    layer = rf"{_LLAMA}layers\.\d+\."
    matrices = r"(?:self_attn\.(?:[qkvo]|qkv)_proj|mlp\.(?:gate|up|gate_up|down)_proj)"
    norms = r"(?:input|post_attention|post_feedforward)_layernorm|self_attn\.[qk]_norm"
    return [
        # A constant table of the rotary embedding, in older checkpoints; the model builds it.
        rule(rf"{_LLAMA}(?:.+\.)?rotary_emb\.inv_freq", SKIP),
        rule(rf"{layer}{matrices}\.weight", "normal", std=std),
        rule(rf"{layer}{matrices}\.bias", "zeros"),
        embedding_rule(rf"{_LLAMA}embed_tokens\.weight", std, padding),
        rule(rf"(?:{layer}(?:{norms})|{_LLAMA}norm)\.weight", "ones"),
        *_heads("lm_head|score|qa_outputs", std),
    ]


def _llama_depth(shapes: Shapes, *, std: float = 0.02, width: float | None = None) -> list[Rule]:
    # torchtitan's names, and those of transformers for the same tensors.
    embedding = rf"(?:tok_embeddings|{_LLAMA}embed_tokens)\.weight"
    inward = r"(?:attention\.w[qkv]|self_attn\.[qkv]_proj|feed_forward\.w1|mlp\.gate_proj)\.weight"
    scaled = r"(?:attention\.wo|self_attn\.o_proj|feed_forward\.w[23]|mlp\.(?:down|up)_proj)\.weight"
    norms = r"(?:attention_norm|ffn_norm|input_layernorm|post_attention_layernorm|(?:attention|self_attn)\.[qk]_norm)"
    width = length_of(shapes, embedding, "width", width)
    bounds = (-2.0, 2.0)  # absolute, the default of trunc_normal_: 100 std, so that nothing is cut
    return [
        rule(rf"freqs_cis|{_LLAMA}(?:.+\.)?rotary_emb\.inv_freq", SKIP),  # constant tables, which the model builds
        rule(embedding, "normal", std=1.0),
        rule(r"(?:output|lm_head)\.weight", "truncated_normal", std=width**-0.5, sigmas=(-3.0, 3.0)),
        rule(rf"(?:{_LLAMA}norm|{_LLAMA}layers\.\d+\.{norms})\.weight", "ones"),
        rule(rf"{_LLAMA}layers\.\d+\.{inward}", "truncated_normal", std=std, bounds=bounds),
        *(
            rule(
                rf"{_LLAMA}layers\.{layer}\.{scaled}",
                "truncated_normal",
                std=std / (2 * (layer + 1)) ** 0.5,
                bounds=bounds,
            )
            for layer in numbered_blocks(shapes, rf"{_LLAMA}layers\.(\d+)\.")
        ),
    ]


# --- BERT -------------------------------------------------------------------------------------------------------------


def _bert(shapes: Shapes, *, std: float = 0.02, padding: float = 0) -> list[Rule]:
    root = r"(?:bert\.)?"
    layer = rf"{root}encoder\.layer\.\d+\."
    attention = r"(?:attention|crossattention)"
    dense = (
        rf"{layer}(?:{attention}\.(?:self\.(?:query|key|value)|output\.dense)|(?:intermediate|output)\.dense)"
        rf"|{root}pooler\.dense|cls\.(?:predictions\.(?:transform\.dense|decoder)|seq_relationship)"
    )
    norms = rf"{root}embeddings|{layer}(?:{attention}\.)?output|cls\.predictions\.transform"
    return [
        # Positions 0, 1, ... and token types 0, in older checkpoints; the model builds them.
        rule(rf"{root}embeddings\.(?:position_ids|token_type_ids)", SKIP),
        embedding_rule(rf"{root}embeddings\.word_embeddings\.weight", std, padding),
        rule(rf"{root}embeddings\.(?:position|token_type)_embeddings\.weight", "normal", std=std),
        rule(rf"(?:{dense})\.weight", "normal", std=std),
        rule(rf"(?:{dense}|cls\.predictions)\.bias", "zeros"),
        rule(rf"(?:{norms})\.LayerNorm\.weight", "ones"),
        rule(rf"(?:{norms})\.LayerNorm\.bias", "zeros"),
        *_heads("classifier|qa_outputs", std),
    ]


# --- T5 ---------------------------------------------------------------------------------------------------------------


def _t5(shapes: Shapes, *, factor: float = 1.0, heads: float | None = None, width: float | None = None) -> list[Rule]:
    root = r"(?:transformer\.)?"
    layer = rf"{root}(?:encoder|decoder)\.block\.\d+\.layer\.\d+\."
    attention = rf"{layer}(?:SelfAttention|EncDecAttention)\."
    query, bias = rf"{attention}q\.weight", rf"{attention}relative_attention_bias\.weight"
    heads = length_of(shapes, bias, "heads", heads)
    width = length_of(shapes, rf"{root}(?:shared|(?:encoder|decoder)\.embed_tokens)\.weight", "width", width)
    rows = {math.prod(entry["shape"][:1]) for name, entry in shapes.items() if re.fullmatch(query, name)}
    if len(rows) != 1 or not max(rows) or max(rows) % heads:
        raise ValueError(
            f"the width of a head cannot be read: heads is {heads:g}, and the matrices {query!r} have {sorted(rows)} "
            "rows, which must be one number and a multiple of it"
        )
    head_width = max(rows) / heads
    return [
        rule(rf"{root}(?:shared|(?:encoder|decoder)\.embed_tokens)\.weight", "normal", std=factor),
        rule(r"(?:lm_head|classifier)\.weight", "normal", std=factor),
        # (width * width of a head)^-1/2: T5 does not divide the scores by the root of the latter, so the weights do.
        rule(query, "lecun_normal", gain=factor * head_width**-0.5),
        rule(rf"{attention}[kvo]\.weight", "lecun_normal", gain=factor),
        rule(bias, "normal", std=factor * width**-0.5),
        rule(rf"{layer}DenseReluDense\.(?:wi|wi_0|wi_1|wo)\.weight", "lecun_normal", gain=factor),
        rule(rf"(?:{layer}layer_norm|{root}(?:encoder|decoder)\.final_layer_norm)\.weight", "constant", value=factor),
        rule(r"(?:qa_outputs|classification_head\.(?:dense|out_proj))\.weight", "lecun_normal", gain=factor),
        rule(r"(?:qa_outputs|classification_head\.(?:dense|out_proj)|classifier)\.bias", "zeros"),
    ]


# --- ViT --------------------------------------------------------------------------------------------------------------


def _vit(shapes: Shapes, *, std: float = 0.02) -> list[Rule]:
    root = r"(?:vit\.)?"
    # The names of transformers 5, then those of transformers 4, which 5 still reads.
    linear = (
        rf"{root}layers\.\d+\.(?:attention\.[qkvo]_proj|mlp\.fc[12])"
        rf"|{root}encoder\.layer\.\d+\.(?:attention\.(?:attention\.(?:query|key|value)|output\.dense)"
        r"|(?:intermediate|output)\.dense)"
        rf"|{root}embeddings\.patch_embeddings\.projection|{root}pooler\.dense"
    )
    norms = rf"{root}(?:layers|encoder\.layer)\.\d+\.layernorm_(?:before|after)|{root}layernorm"
    return [
        # Bounds are absolute, the default of trunc_normal_: 100 std, so that nothing is cut.
        rule(rf"{root}embeddings\.(?:cls_token|position_embeddings)", "truncated_normal", std=std, bounds=(-2.0, 2.0)),
        rule(rf"{root}embeddings\.mask_token", "zeros"),
        rule(rf"(?:{linear})\.weight", "normal", std=std),
        rule(rf"(?:{norms})\.weight", "ones"),
        rule(rf"(?:{linear}|{norms})\.bias", "zeros"),
        *_heads(r"classifier|decoder\.0", std),
    ]


# --- by shape: ResNet, and any network of linear layers and convolutions ----------------------------------------------


def _norms(shapes: Shapes) -> list[str]:
    """Modules that normalise: their weight is a vector, with a bias or statistics beside it or a name that says norm.

    A vector alone is not enough: PReLU's slope is one too.
    """
    found = []
    for name, entry in shapes.items():
        module, _, last = name.rpartition(".")
        if last == "weight" and len(entry["shape"]) == 1:
            beside = {f"{module}.bias", f"{module}.running_mean"} & set(shapes)
            if beside or re.search(r"norm|bn|(?:^|\.)ln", module.lower()):
                found.append(module)
    return found


def _norm_rules(shapes: Shapes) -> list[Rule]:
    modules = f"(?:{exactly(_norms(shapes))})"
    return [
        rule(rf"{modules}\.(?:weight|running_var)", "ones"),
        rule(rf"{modules}\.(?:bias|running_mean|num_batches_tracked)", "zeros"),
        rule(r"(?:.+\.)?running_mean|(?:.+\.)?num_batches_tracked", "zeros"),  # of a batch norm without weights
        rule(r"(?:.+\.)?running_var", "ones"),
    ]


def _weights(shapes: Shapes, dimensions: Iterable[int]) -> list[str]:
    return [
        name
        for name, entry in shapes.items()
        if name.rpartition(".")[2] == "weight" and len(entry["shape"]) in dimensions
    ]


def _resnet(shapes: Shapes, *, zero_last: float = 0) -> list[Rule]:
    residual = {
        found[1]: found[0]  # the last norm of a block: bn3 of a bottleneck, bn2 of a basic block
        for name in sorted(shapes)
        if (found := re.fullmatch(r"((?:.+\.)?layer\d+\.\d+)\.bn[23]\.weight", name))
    }
    if zero_last and not residual:
        raise ValueError("zero_last: no name is that of a block's last norm, such as layer1.0.bn2.weight")
    rules = [rule(exactly(residual.values()), "zeros")] if zero_last else []
    heads = r"fc|classifier\.1"
    rules += [
        rule(exactly(_weights(shapes, [4])), "variance_scaling", scale=2.0, mode="fan_out", distribution="normal"),
        *_norm_rules(shapes),
        # Linear's own default: both from U(-a, a), a = 1 / sqrt(fan_in), which is He's uniform at a slope of sqrt(5).
        rule(rf"(?:{heads})\.weight", "he_uniform", negative_slope=math.sqrt(5.0)),
    ]
    if any(re.fullmatch(rf"(?:{heads})\.bias", name) for name in shapes):
        bound = length_of(shapes, rf"(?:{heads})\.weight", "features", None) ** -0.5
        rules.append(rule(rf"(?:{heads})\.bias", "uniform", low=-bound, high=bound))
    return rules


def _mlp(shapes: Shapes, scheme: Scheme) -> list[Rule]:
    # An embedding is looked up, not multiplied: neither scheme is meant for it, and its shape looks like a Linear's.
    weights = [
        name
        for name in _weights(shapes, range(2, 6))
        if len(shapes[name]["shape"]) > 2 or not re.search("emb|wte|wpe", name.lower())
    ]
    return [*_norm_rules(shapes), rule(exactly(weights), scheme, layout="torch"), rule(r"(?:.+\.)?bias", "zeros")]


def _mlp_he(shapes: Shapes) -> list[Rule]:
    return _mlp(shapes, "he_normal")


def _mlp_xavier(shapes: Shapes) -> list[Rule]:
    return _mlp(shapes, "xavier_uniform")


# --- the table --------------------------------------------------------------------------------------------------------

_TRANSFORMERS = "https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers"
_BASE = f"{_TRANSFORMERS}/modeling_utils.py, PreTrainedModel._init_weights"
_T5_SHARED = r"(?:transformer\.)?shared\.weight"
_TORCHTITAN = "https://github.com/pytorch/torchtitan/blob/6404b932421f5ce382e7dac5ad381b2c17b1373c"

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "gpt2",
            "GPT-2 of transformers: N(0, 0.02), residual projections 0.02 / sqrt(2 layers)",
            f"{_TRANSFORMERS}/models/gpt2/modeling_gpt2.py, GPT2PreTrainedModel._init_weights; {_BASE}",
            _gpt2,
            ties=((r"lm_head\.weight", r"(?:transformer\.)?wte\.weight"),),
            is_tied=True,
        ),
        Recipe(
            "llama",
            "Llama, Mistral, Qwen, OLMo 2, Phi-3 of transformers, without experts: N(0, 0.02); padding: its row, zero",
            _BASE,
            _llama,
            ties=((r"lm_head\.weight", rf"{_LLAMA}embed_tokens\.weight"),),
        ),
        Recipe(
            "llama_depth",
            "Llama as torchtitan draws it: output side of block l scaled by 1 / sqrt(2 (l + 1)), embedding N(0, 1)",
            f"{_TORCHTITAN}/torchtitan/models/llama3/model/model.py, init_weights, with depth_init",
            _llama_depth,
            ties=((r"lm_head\.weight", rf"{_LLAMA}embed_tokens\.weight"),),
        ),
        Recipe(
            "bert",
            "BERT of transformers: N(0, 0.02), the padding token's row zero",
            f"{_TRANSFORMERS}/models/bert/modeling_bert.py, BertPreTrainedModel._init_weights; {_BASE}",
            _bert,
            ties=(
                (r"cls\.predictions\.decoder\.weight", r"(?:bert\.)?embeddings\.word_embeddings\.weight"),
                (r"cls\.predictions\.decoder\.bias", r"cls\.predictions\.bias"),
            ),
            is_tied=True,
        ),
        Recipe(
            "t5",
            "T5 of transformers: embedding N(0, 1), matrices fan_in^-1/2, queries (fan_in head_width)^-1/2",
            f"{_TRANSFORMERS}/models/t5/modeling_t5.py, T5PreTrainedModel._init_weights",
            _t5,
            shared=((r"(?:transformer\.)?(?:encoder|decoder)\.embed_tokens\.weight", _T5_SHARED),),
            ties=((r"lm_head\.weight", _T5_SHARED),),
            is_tied=True,
        ),
        Recipe(
            "vit",
            "ViT of transformers: N(0, 0.02)",
            f"{_TRANSFORMERS}/models/vit/modeling_vit.py, ViTPreTrainedModel._init_weights; {_BASE}",
            _vit,
        ),
        Recipe(
            "resnet",
            "ResNet of torchvision, timm and transformers: He's normal of fan_out, batch norms 1 and 0",
            "https://github.com/pytorch/vision/blob/v0.29.1/torchvision/models/resnet.py, ResNet.__init__; "
            "https://github.com/huggingface/pytorch-image-models/blob/v1.0.31/timm/models/resnet.py, init_weights",
            _resnet,
        ),
        Recipe(
            "mlp_he",
            "any linear layers and convolutions in front of ReLU: He's normal, biases 0, norms 1 and 0",
            "https://arxiv.org/abs/1502.01852, eq. 10",
            _mlp_he,
        ),
        Recipe(
            "mlp_xavier",
            "any linear layers and convolutions in front of tanh: Xavier's uniform, biases 0, norms 1 and 0",
            "https://proceedings.mlr.press/v9/glorot10a.html, eq. 16",
            _mlp_xavier,
        ),
    )
}
