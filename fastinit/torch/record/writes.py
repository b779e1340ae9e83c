"""Functions that write into a tensor: draws, numbers, copies, slices, arithmetic in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import init

from fastinit import laws
from fastinit.laws.law import IndependentLaw
from fastinit.torch.record import algebra
from fastinit.torch.record.contents import (
    Computed,
    Content,
    Draw,
    Input,
    Lawful,
    Unknown,
    Values,
    constant,
    here,
    number_of,
)
from fastinit.torch.record.evaluate import LARGEST
from fastinit.torch.record.mode import OF_VALUES, Recorder, handles

Arguments = tuple[Any, ...]
Named = dict[str, Any]


def plain(value: Any) -> Any:
    """A number as Python has it; None where it is none."""
    if isinstance(value, (bool, int, float, complex)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
        return value.item()
    return None


def value_of(recorder: Recorder, value: Any) -> float | None:
    """The number that an operand is everywhere; None where it differs."""
    if isinstance(value, Tensor):
        return number_of(recorder.storages.content(value))
    number = plain(value)
    return None if number is None or isinstance(number, complex) else float(number)


def note_draw(recorder: Recorder, tensor: Tensor, law: laws.Law) -> Tensor:
    """Note that the elements of a tensor are drawn now."""
    where = here()
    if tensor.is_complex() and isinstance(law, laws.Normal):
        law = complex_normal(law)
    if tensor.is_floating_point() or (tensor.is_complex() and law.is_complex):
        recorder.storages.write(tensor, Lawful(law, Draw(law, tuple(tensor.shape), where), where))
    else:
        recorder.storages.write(tensor, Unknown(f"a draw into {tensor.dtype}", where))
    return tensor


def complex_normal(law: laws.Normal) -> laws.ComplexNormal:
    """What PyTorch draws of it into complex numbers: both parts have the mean, and half of the variance each."""
    return laws.ComplexNormal(complex(law.mean, law.mean), law.std)


def _law_or_unknown(recorder: Recorder, tensor: Tensor, name: str, make: Callable[[], laws.Law]) -> Tensor:
    try:
        return note_draw(recorder, tensor, make())
    except (TypeError, ValueError) as error:
        recorder.storages.write(tensor, Unknown(f"{name}: {error}", here()))
        return tensor


def normal(mean: float, std: float) -> laws.Law:
    """N(mean, std^2); a constant where std is zero."""
    return laws.Normal(mean, std) if std else laws.Constant(float(mean))


def uniform(low: float, high: float) -> laws.Law:
    """U[low, high); a constant where they are one."""
    return laws.Uniform(low, high) if low != high else laws.Constant(float(low))


@handles("normal_")
def _normal(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    """Of a tensor, and of torch.nn.init, which hands itself over."""
    given = dict(zip(("tensor", "mean", "std"), args, strict=False)) | kwargs
    mean, std = (value_of(recorder, given.get(name, default)) for name, default in (("mean", 0.0), ("std", 1.0)))
    return _law_or_unknown(recorder, given["tensor"], "normal_", lambda: normal(mean, std))  # type: ignore[arg-type]


@handles("uniform_")
def _uniform(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    """The method names its bounds from and to, the function of torch.nn.init a and b."""
    given = dict(zip(("tensor", "a", "b"), args, strict=False)) | kwargs
    low = value_of(recorder, given.get("from", given.get("a", 0.0)))
    high = value_of(recorder, given.get("to", given.get("b", 1.0)))
    return _law_or_unknown(recorder, given["tensor"], "uniform_", lambda: uniform(low, high))  # type: ignore[arg-type]


@handles("kaiming_uniform_")
def _kaiming_uniform(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    """torch.nn.init's, which hands itself over."""
    given = dict(zip(("tensor", "a", "mode", "nonlinearity"), args, strict=False)) | kwargs
    tensor: Tensor = given["tensor"]
    if tensor.numel():
        fan = init._calculate_correct_fan(tensor, given.get("mode", "fan_in"))
        gain = init.calculate_gain(given.get("nonlinearity", "leaky_relu"), given.get("a", 0))
        bound = math.sqrt(3.0) * (gain / math.sqrt(fan))
        note_draw(recorder, tensor, uniform(-bound, bound))
    return tensor


@handles(*(name for name in OF_VALUES if name.endswith("_")))
def _other_draw(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    """Draws in place that none of our laws describes: values, if from a generator of the code's own."""
    tensor: Tensor = args[0]
    if recorder.gives_values(kwargs.get("generator")) and recorder.none_recorded(args[1:]):
        if recorder.storages.is_real(tensor):
            return func(*args, **kwargs)
        if tensor.numel() <= LARGEST:
            values = torch.empty(tensor.shape, dtype=tensor.dtype)
            func(values, *args[1:], **kwargs)
            recorder.storages.write(tensor, Values(values, here()))
            return tensor
    recorder.leaves_behind(kwargs.get("generator"))
    recorder.storages.write(args[0], Unknown(f"{func.__name__}, of which fastinit has no law", here()))
    return args[0]


# --- numbers and copies -----------------------------------------------------------------------------------------------


def _really(recorder: Recorder, func: Any, tensor: Tensor, args: Arguments, kwargs: Named) -> bool:
    """Whether a write goes into memory: a table of the recording's own, and values; then it is done."""
    if not recorder.storages.is_real(tensor) or not recorder.none_recorded(args[1:], kwargs):
        return False
    with torch.no_grad():
        func(*args, **kwargs)
    return True


@handles("zero_", "fill_", "constant_")
def _fill(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    given = dict(zip(("tensor", "value"), args, strict=False)) | kwargs
    tensor: Tensor = given["tensor"]
    value = given.get("val", given.get("value", 0.0))
    if recorder.storages.is_real(tensor) and recorder.none_recorded(value):
        with torch.no_grad():
            tensor.fill_(value)
        return tensor
    number = plain(value) if not isinstance(value, Tensor) else value_of(recorder, value)
    content = constant(number, here()) if number is not None else Unknown(f"{func.__name__} of a draw", here())
    recorder.storages.write(tensor, content)
    return tensor


def fitted(content: Content, source: Tensor, target: Tensor) -> Content:
    """What a tensor holds, broadcast to the shape of another and in its dtype."""
    if content.chance and not target.is_floating_point():
        return Unknown(f"a draw that is copied into {target.dtype}", here())
    shape = tuple(target.shape)
    if number_of(content) is not None or source.shape == target.shape:
        return content
    if source.numel() == target.numel() and isinstance(content, Lawful) and isinstance(content.law, IndependentLaw):
        return content
    return expression("expand", lambda x: x.expand(shape), (Input(content, tuple(source.shape), source.dtype),), {})


@handles("copy_")
def _copy(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    target: Tensor = args[0]
    source = args[1] if len(args) > 1 else kwargs.get("src", kwargs.get("other"))
    if _really(recorder, func, target, args, kwargs):
        return target
    if not isinstance(source, Tensor):
        recorder.storages.write(target, constant(plain(source), here()))
    elif not recorder.storages.is_recorded(source):
        values = source.detach().to(target.dtype)
        recorder.storages.write(target, Values(values.expand(target.shape).clone(), here()))
    elif source.shape == target.shape:
        recorder.storages.copy(source, target, lambda content: fitted(content, source, target))
    else:
        recorder.storages.write(target, fitted(recorder.storages.content(source), source, target))
    return target


@handles("__setitem__")
def _set_item(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> None:
    tensor, index, value = args
    if _really(recorder, func, tensor, args, kwargs):
        return
    if not _picks(index):
        view = tensor.detach()[index]
        if view.numel() and view.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
            with recorder:
                view.copy_(value) if isinstance(value, Tensor) else view.fill_(value)
            return
    _in_place(recorder, "index_put", _put, tensor, (index, value), {})


def _picks(index: Any) -> bool:
    """Whether an index is of the kind that copies."""
    return any(isinstance(one, (Tensor, list, np.ndarray)) for one in (index if isinstance(index, tuple) else (index,)))


def _put(tensor: Tensor, index: Any, value: Any) -> Tensor:
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@handles("__set__")
def _set_attribute(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Any:
    """`parameter.data = tensor`: a parameter that existed before keeps its memory, and a recorded tensor has other."""
    tensor, value = args
    foreign = isinstance(tensor, Tensor) and not tensor.is_meta and not recorder.storages.is_real(tensor)
    if isinstance(value, Tensor) and func == Tensor.data.__set__ and (foreign or value.device != tensor.device):
        if value.shape != tensor.shape:
            raise recorder.refuse_value(f"a parameter that changes its shape, {tuple(tensor.shape)},")
        with recorder:
            tensor.copy_(value)
        return None
    return func(*args, **kwargs)


# --- arithmetic in place ----------------------------------------------------------------------------------------------

_AFFINE = {
    "mul_": "mul",
    "multiply_": "mul",
    "__imul__": "mul",
    "div_": "div",
    "divide_": "div",
    "true_divide_": "div",
    "__idiv__": "div",
    "__itruediv__": "div",
    "add_": "add",
    "__iadd__": "add",
    "sub_": "sub",
    "subtract_": "sub",
    "__isub__": "sub",
}


def coefficients(operation: str, number: float, alpha: float = 1.0) -> tuple[float, float] | None:
    """Scale and shift of an operation with a number on the right."""
    if operation == "mul":
        return number, 0.0
    if operation == "div":
        return (1.0 / number, 0.0) if number else None
    return 1.0, (number if operation == "add" else -number) * alpha


@handles(*_AFFINE)
def _affine(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    tensor: Tensor = args[0]
    if _really(recorder, func, tensor, args, kwargs):
        return tensor
    other = args[1] if len(args) > 1 else kwargs.get("other", kwargs.get("value"))
    operation, number = _AFFINE[func.__name__], value_of(recorder, other)
    pair = (
        None
        if number is None or "rounding_mode" in kwargs
        else coefficients(operation, number, kwargs.get("alpha", 1.0))
    )
    twin = getattr(torch, operation)
    _in_place(
        recorder,
        operation,
        twin,
        tensor,
        (other,),
        {name: value for name, value in kwargs.items() if name in ("alpha", "rounding_mode")},
        simple=pair and (lambda content: algebra.affine(content, *pair, here())),
    )
    return tensor


@handles("clamp_", "clip_", "clamp_min_", "clamp_max_")
def _clamp(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    tensor: Tensor = args[0]
    if _really(recorder, func, tensor, args, kwargs):
        return tensor
    if func.__name__ in ("clamp_min_", "clamp_max_"):
        args, kwargs = (tensor,), {func.__name__[6:9]: args[1] if len(args) > 1 else next(iter(kwargs.values()))}
    given = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
    bounds = algebra.clamp_bounds((), {name: value_of(recorder, value) for name, value in given.items()})
    _in_place(
        recorder,
        "clamp",
        torch.clamp,
        tensor,
        (),
        given,
        simple=lambda content: algebra.clamped(content, bounds[0], bounds[1], here()),  # type: ignore[arg-type]
    )
    return tensor


def in_place_twin(recorder: Recorder, func: Any, args: Arguments, kwargs: Named) -> Tensor:
    """A function in place that has no handler of its own, by its twin that is not."""
    tensor: Tensor = args[0]
    if _really(recorder, func, tensor, args, kwargs):
        return tensor
    name = func.__name__[:-1]
    twin = getattr(Tensor, name, None) or getattr(torch, name, None)
    simple = {"erfinv": algebra.erfinv, "log": algebra.log}.get(name)
    if twin is None:
        recorder.storages.write(tensor, Unknown(func.__name__, here()))
        return tensor
    _in_place(
        *(recorder, name, twin, tensor, tuple(args[1:]), kwargs),
        simple=simple and (lambda content: simple(content, here())),
    )
    return tensor


def _in_place(
    recorder: Recorder,
    name: str,
    twin: Callable[..., Any],
    tensor: Tensor,
    others: Arguments,
    kwargs: Named,
    simple: Callable[[Content], Content | None] | None = None,
) -> None:
    """Note an operation in place: a law where `simple` gives one, else an expression of what was there."""
    dtype, shape = tensor.dtype, tuple(tensor.shape)

    def change(content: Content) -> Content:
        found = simple(content) if simple is not None else None
        if found is not None:
            return found
        if isinstance(content, Unknown):
            return content
        arguments = (Input(content, shape, dtype), *as_inputs(recorder, others))
        return expression(name, twin, arguments, as_inputs(recorder, kwargs))

    if simple is not None:
        recorder.storages.change(tensor, change)
    else:
        recorder.storages.write(tensor, change(recorder.storages.content(tensor)))


def as_inputs(recorder: Recorder, value: Any) -> Any:
    """Arguments with an `Input` for each tensor."""
    if isinstance(value, Tensor):
        return Input(recorder.storages.content(value), tuple(value.shape), value.dtype)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(as_inputs(recorder, one) for one in value)
    if isinstance(value, dict):
        return {name: as_inputs(recorder, one) for name, one in value.items()}
    return value


def expression(
    name: str, function: Callable[..., Any], args: Arguments, kwargs: Named, pick: int | None = None
) -> Content:
    """The result of an operation; what is unknown stays so, with its own reason."""
    found = Computed(name, function, args, kwargs, here(), pick)
    unknown = next((one for one in found.inputs if isinstance(one, Unknown)), None)
    return unknown or found
