"""Functions that make a tensor of others: laws after arithmetic, copies, tables, and expressions for all else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fastinit.laws.law import IndependentLaw
from fastinit.torch.record import algebra
from fastinit.torch.record.contents import (
    Computed,
    Content,
    Input,
    Lawful,
    Region,
    Unknown,
    constant,
    here,
    number_of,
)
from fastinit.torch.record.evaluate import NotComputableError, evaluate
from fastinit.torch.record.memory import region_of
from fastinit.torch.record.mode import DEFAULT, Recorder, handles, run
from fastinit.torch.record.writes import (
    as_inputs,
    coefficients,
    expression,
    fitted,
    in_place_twin,
    value_of,
)

Arguments = tuple[Any, ...]
Named = dict[str, Any]

# What leaves every element as it is.
_SAME = {
    *("clone", "contiguous", "to", "float", "half", "bfloat16", "double", "type", "type_as", "cpu", "cuda", "detach"),
    *("__deepcopy__", "pin_memory", "requires_grad_", "alias", "positive", "expand_as", "view_as", "share_memory_"),
}
_IN_ORDER = {"reshape", "flatten", "ravel", "unflatten"}  # copies only where memory is not in order
# In place, and nothing that a tensor holds changes.
_OF_FORM = {
    *("requires_grad_", "squeeze_", "unsqueeze_", "detach_", "t_", "transpose_", "swapaxes_", "swapdims_", "rename_"),
    *("share_memory_", "retain_grad", "register_hook", "resize_", "set_", "as_strided_", "_"),
}
_VALUES = {
    *("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__", "__complex__"),
    *("equal", "allclose", "is_nonzero", "__contains__", "isclose_all"),
}


@handles(*_VALUES)
def _values(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Values that code reads: computed where chance has no part, refused where it has."""
    if recorder.none_recorded(args, kwargs):
        return func(*args, **kwargs)
    real = []
    for one in args:
        if isinstance(one, Tensor):
            try:
                one = evaluate(recorder.storages.content(one), tuple(one.shape), one.dtype)
            except NotComputableError:
                raise recorder.refuse_value(func.__name__) from None
        real.append(one)
    return func(*real, **kwargs)


_AFFINE: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(("mul", "__mul__", "multiply"), ("mul", False)),
    "__rmul__": ("mul", True),
    **dict.fromkeys(("div", "__truediv__", "true_divide", "divide", "__div__"), ("div", False)),
    **dict.fromkeys(("__rtruediv__", "__rdiv__"), ("div", True)),
    **dict.fromkeys(("add", "__add__"), ("add", False)),
    "__radd__": ("add", True),
    **dict.fromkeys(("sub", "__sub__", "subtract"), ("sub", False)),
    **dict.fromkeys(("__rsub__", "rsub"), ("sub", True)),
}


@handles(*_AFFINE)
def _arithmetic(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    if recorder.none_recorded(args, kwargs):
        return recorder.born(func(*args, **kwargs))
    if kwargs.get("out") is not None:
        return _general(recorder, func, args, kwargs)
    operation, reverse = _AFFINE[func.__name__]
    left, right = args[0], args[1] if len(args) > 1 else kwargs.get("other")
    if reverse:
        left, right = right, left
    result = run(func, args, kwargs)
    recorder.storages.write(result, _of_two(recorder, operation, left, right, kwargs, result))
    return result


def _of_two(recorder: Recorder, operation: str, left: Any, right: Any, kwargs: Named, result: Tensor) -> Content:
    """What the result of arithmetic on two operands holds."""
    where, alpha = here(), kwargs.get("alpha", 1.0)
    numbers = value_of(recorder, left), value_of(recorder, right)
    contents = [recorder.storages.content(one) if isinstance(one, Tensor) else None for one in (left, right)]
    found = None
    if "rounding_mode" not in kwargs:
        if contents[0] is not None and numbers[1] is not None:
            pair = coefficients(operation, numbers[1], alpha)
            found = pair and algebra.affine(fitted(contents[0], left, result), *pair, where)
        elif contents[1] is not None and numbers[0] is not None:
            inner = fitted(contents[1], right, result)
            if operation == "mul":
                found = algebra.affine(inner, numbers[0], 0.0, where)
            elif operation in ("add", "sub"):
                found = algebra.affine(inner, alpha if operation == "add" else -alpha, numbers[0], where)
            elif numbers[1]:
                found = constant(numbers[0] / numbers[1], where)
        elif operation == "add" and contents[0] is not None and contents[1] is not None:
            for one, other in ((contents[0], contents[1]), (contents[1], contents[0])):
                if algebra.is_inverse_softplus(one, other):
                    found = algebra.inverse_softplus(one, where)
    if found is not None:
        return found
    arguments = as_inputs(recorder, (left, right))
    return expression(operation, getattr(torch, operation), arguments, {k: v for k, v in kwargs.items() if k != "out"})


def _unary(name: str) -> Callable[[Recorder, Content], Content | None]:
    """The law, if it is one, of a function of every element."""

    def law(recorder: Recorder, content: Content) -> Content | None:
        where = here()
        if name in ("neg", "__neg__", "negative"):
            return algebra.affine(content, -1.0, 0.0, where)
        if name == "erfinv":
            return algebra.erfinv(content, where)
        if name == "log":
            inner = algebra.is_log_of_expm1(content)
            found = algebra.log(content, where)
            return found or (algebra.inverse_softplus(inner, where) if inner is not None else None)
        return None

    return law


@handles(
    "neg", "__neg__", "negative", "erfinv", "log", "exp", "expm1", "log1p", "sqrt", "rsqrt", "abs", "sigmoid", "tanh"
)
def _elementwise(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    if recorder.none_recorded(args, kwargs):
        return recorder.born(func(*args, **kwargs))
    name = {"__neg__": "neg", "negative": "neg"}.get(func.__name__, func.__name__)
    law, twin = _unary(name), getattr(torch, name)
    result = run(func, args, kwargs)
    source: Tensor = args[0]

    def change(content: Content) -> Content:
        found = law(recorder, content)
        return found or expression(name, twin, (Input(content, tuple(source.shape), source.dtype),), {})

    recorder.storages.write(result, change(recorder.storages.content(source)))
    return result


@handles("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    if recorder.none_recorded(args, kwargs):
        return recorder.born(func(*args, **kwargs))
    result = run(func, args, kwargs)
    if func.__name__ in ("clamp_min", "clamp_max"):
        args, kwargs = args[:1], {func.__name__[6:]: args[1] if len(args) > 1 else next(iter(kwargs.values()))}
    given = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
    bounds = algebra.clamp_bounds((), {name: value_of(recorder, value) for name, value in given.items()})
    content = recorder.storages.content(args[0])
    found = None
    if bounds[0] is not None and bounds[1] is not None:
        found = algebra.clamped(content, bounds[0], bounds[1], here())
    if found is None:
        found = expression("clamp", torch.clamp, (as_inputs(recorder, args[0]),), as_inputs(recorder, given))
    recorder.storages.write(result, found)
    return result


@handles(*_SAME, *_IN_ORDER)
def _same(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Copies, also to another dtype; what is recorded moves to no device."""
    source = args[0]
    if func.__name__ in ("to", "cpu", "cuda", "pin_memory"):
        others = (*args[1:], *kwargs.values())
        dtype = next((one for one in others if isinstance(one, torch.dtype)), None)
        like = next((one for one in others if isinstance(one, Tensor)), None)
        dtype = dtype or (like.dtype if like is not None else source.dtype)
        copy = kwargs.get("copy", False)
        result = func(source, dtype, copy=copy) if func.__name__ == "to" else source
    elif func.__name__ == "type_as":
        result = source.to(args[1].dtype)
    else:
        result = func(*args, **kwargs)
    if not isinstance(result, Tensor) or result is source or _shares(result, source):
        return result
    if not recorder.storages.is_recorded(source):
        return recorder.born(result)
    if func.__name__ in _IN_ORDER and result.shape != source.shape:
        content = recorder.storages.content(source)
        if number_of(content) is None:
            shape = tuple(result.shape)
            content = _reshaped(content, shape, source)
        recorder.storages.write(result, content)
        return result
    recorder.storages.copy(source, result, lambda content: fitted(content, source, result))
    return result


def _reshaped(content: Content, shape: tuple[int, ...], source: Tensor) -> Content:
    """A copy in another shape: element by element the same law, in another arrangement."""
    if isinstance(content, Lawful) and isinstance(content.law, IndependentLaw):
        region = region_of(source)
        return replace(content, parts=(*content.parts, region, Region(0, shape, (-1,) * len(shape))))
    return expression("reshape", torch.reshape, (Input(content, tuple(source.shape), source.dtype), shape), {})


def _shares(result: Tensor, source: Tensor) -> bool:
    return bool(result.untyped_storage()._cdata == source.untyped_storage()._cdata)


@handles("cat", "concat", "concatenate", "stack", "hstack", "vstack")
def _joined(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    if recorder.none_recorded(args, kwargs):
        return recorder.born(func(*args, **kwargs))
    name, parts = func.__name__, list(args[0] if args else kwargs["tensors"])
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
    result = run(func, args, kwargs)
    if name in ("hstack", "vstack") or kwargs.get("out") is not None:
        recorder.storages.write(result, expression(name, func, as_inputs(recorder, args), as_inputs(recorder, kwargs)))
        return result
    start = 0
    with torch.no_grad():
        for i, part in enumerate(parts):
            if not part.numel():
                continue
            if name == "stack":
                view = result.select(given, i)
            else:
                view = result.narrow(given, start, part.shape[given])
                start += part.shape[given]
            recorder.storages.write(view, fitted(recorder.storages.content(part), part, view))
    return result


def _general(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Any other function."""
    name = func.__name__
    tensors = recorder.tensors(args, kwargs)
    in_place = name.endswith("_") and not name.endswith("__") and name not in _OF_FORM
    if in_place and args and isinstance(args[0], Tensor) and callable(getattr(Tensor, name, None)):
        return in_place_twin(recorder, func, args, kwargs)
    if name.startswith("_foreach_") and in_place:
        with recorder:
            for i, one in enumerate(args[0]):
                getattr(one, name[9:])(*(other[i] if isinstance(other, (list, tuple)) else other for other in args[1:]))
        return None
    if name == "__get__":
        said = _SAID.get(func)
        return func(*args, **kwargs) if said is None or recorder.storages.find(args[0]) is None else said
    real = not any(recorder.storages.is_recorded(one) for one in tensors)
    state, versions = torch.get_rng_state() if real else None, [_version(one) for one in tensors]
    result = func(*args, **kwargs) if real else run(func, args, kwargs)
    if name not in _OF_FORM:
        for one, version in zip(tensors, versions, strict=True):
            if _version(one) != version and not recorder.storages.is_real(one):
                recorder.storages.write(
                    one, Unknown(f"{name}, which writes into it in a way that is not known", here())
                )
    outs = recorder.tensors(result)
    if state is not None and not torch.equal(state, torch.get_rng_state()):
        for one in outs:
            recorder.storages.write(one, Unknown(f"{name}, which draws", here()))
        return result
    sources = {one.untyped_storage()._cdata for one in tensors}
    arguments = None
    for i, out in enumerate(outs):
        if not out.numel() or out.untyped_storage()._cdata in sources:  # a view
            continue
        if real:
            recorder.born(out)
            continue
        if arguments is None:
            arguments = as_inputs(recorder, args), as_inputs(recorder, kwargs)
        pick = None if isinstance(result, Tensor) else i
        recorder.storages.write(out, _known(expression(name, func, *arguments, pick=pick), out))
    return result


def _version(tensor: Tensor) -> int:
    """The count of what was written into a tensor; inference tensors have none."""
    return 0 if tensor.is_inference() else tensor._version


# Code asks a tensor for its device, to leave out on the meta device what it cannot compute there: it can, here.
_SAID: dict[Any, Any] = {
    Tensor.device.__get__: torch.device("cpu"),
    Tensor.is_meta.__get__: False,
    Tensor.is_cpu.__get__: True,
}
_SPREAD = {"expand", "repeat", "tile", "repeat_interleave", "broadcast_to", "roll", "flip", "permute", "index_select"}


def _known(content: Content, out: Tensor) -> Content:
    """The number that copies of one number are, if that is what an expression is."""
    if not isinstance(content, Computed):
        return content
    name, inputs = content.name, content.inputs
    if name in _SPREAD and len(inputs) == 1 and (number := number_of(inputs[0])) is not None:
        return constant(number, content.where)
    if len(inputs) and all(number_of(one) is not None for one in inputs) and out.numel() > 1 and name in _POINTWISE:
        shapes = [one.shape for one in content.args if isinstance(one, Input)]
        if shapes and all(math.prod(shape) for shape in shapes):
            return constant(float(evaluate(_small(content), (), torch.float64)), content.where)
    return content


_POINTWISE = {"pow", "__pow__", "square", "reciprocal", "softplus", "maximum", "minimum", "sin", "cos"}


def _small(content: Computed) -> Content:
    """The same expression of single elements."""
    args = tuple(Input(one.content, (), torch.float64) if isinstance(one, Input) else one for one in content.args)
    return replace(content, args=args)


DEFAULT.append(_general)
