"""Functions that make tensors: with chance, of one number, of a table, or of nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastinit import laws
from fastinit.torch.record.contents import Lawful, Unknown, Unwritten, constant, here, number_of
from fastinit.torch.record.mode import OF_VALUES, Recorder, handles, run
from fastinit.torch.record.writes import note_draw

# Elements: tables of up to so many, if of one number, are made with their values.
SMALL = 1 << 16

_RANDOM: dict[str, laws.Law] = {
    "randn": laws.Normal(0.0, 1.0),
    "rand": laws.Uniform(0.0, 1.0),
    "randn_like": laws.Normal(0.0, 1.0),
    "rand_like": laws.Uniform(0.0, 1.0),
}
_NUMBERS = {"zeros": 0.0, "ones": 1.0, "zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0}


def _anywhere(kwargs: dict[str, Any], device: str) -> dict[str, Any]:
    """The arguments of a factory, on the device that recording uses."""
    kept = {name: value for name, value in kwargs.items() if name not in ("pin_memory", "generator")}
    return {**kept, "device": device}


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of what is drawn really, by a generator of the CPU."""
    return {**kwargs, "device": "cpu"} if "device" in kwargs else kwargs


@handles("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")
def _empty(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if kwargs.get("out") is not None:
        return func(*args, **kwargs)
    tensor = func(*args, **_anywhere(kwargs, "meta"))
    recorder.storages.write(tensor, Unwritten(here()))
    return tensor


@handles(*_RANDOM)
def _random(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    law, out = _RANDOM[func.__name__], kwargs.get("out")
    tensor = out if out is not None else func(*args, **_anywhere(kwargs, "meta"))
    return note_draw(recorder, tensor, law)


@handles("normal")
def _normal(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """torch.normal: of numbers and a size, or of tensors that hold one number each."""
    where = here()
    given = dict(zip(("mean", "std", "size"), args, strict=False)) | kwargs
    mean, std, size = given.get("mean", 0.0), given.get("std", 1.0), given.get("size")
    like = next((one for one in (mean, std) if isinstance(one, Tensor)), None)
    if size is None and like is not None:
        size = torch.broadcast_shapes(*(one.shape for one in (mean, std) if isinstance(one, Tensor)))
    numbers = [number_of(recorder.storages.content(one)) if isinstance(one, Tensor) else one for one in (mean, std)]
    tensor = given.get("out")
    if tensor is None:
        dtype = given.get("dtype") or (like.dtype if like is not None else None)
        tensor = torch.empty(size, dtype=dtype, device="meta")
        if given.get("requires_grad"):
            tensor.requires_grad_()
    if numbers[0] is None or numbers[1] is None:
        recorder.storages.write(tensor, Unknown("torch.normal of different means or deviations", where))
    else:
        note_draw(recorder, tensor, laws.Normal(numbers[0], numbers[1]))
    return tensor


@handles(*(name for name in OF_VALUES if not name.endswith("_")))
def _unknown(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Draws that none of our laws describes: values, if from a generator of the code's own."""
    if recorder.gives_values(kwargs.get("generator")) and recorder.none_recorded(args, kwargs):
        return recorder.born(func(*args, **_on_cpu(kwargs)))
    recorder.leaves_behind(kwargs.get("generator"))
    if func.__name__ in ("randint", "randperm"):
        tensor = func(*args, **_anywhere(kwargs, "meta"))
    else:
        tensor = run(func, *_to_meta(args, {name: one for name, one in kwargs.items() if name != "generator"}))
    recorder.storages.write(tensor, Unknown(f"{func.__name__}, of which fastinit has no law", here()))
    return tensor


def _to_meta(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tensors among arguments without their values, so that nothing is drawn."""

    def place(one: Any) -> Any:
        return one.detach().to("meta") if isinstance(one, Tensor) else one

    return tuple(map(place, args)), {name: place(one) for name, one in kwargs.items()}


@handles(*_NUMBERS, "full", "full_like", "new_full")
def _number(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One number everywhere."""
    name = func.__name__
    if kwargs.get("out") is not None:
        return recorder.born(func(*args, **kwargs))
    shape = func(*args, **_anywhere(kwargs, "meta"))
    if shape.numel() <= SMALL:
        return recorder.born(func(*args, **_anywhere(kwargs, "cpu")))
    value = _NUMBERS.get(name)
    if value is None:
        value = kwargs.get("fill_value", args[1] if len(args) > 1 else None)
        if isinstance(value, Tensor):
            value = number_of(recorder.storages.content(value))
    content = constant(value, here()) if value is not None else Unknown(f"{name} of a value that was drawn", here())
    recorder.storages.write(shape, content)
    return shape


@handles("arange", "linspace", "logspace", "eye", "scalar_tensor", "tril_indices", "triu_indices", "tensor", "range")
def _table(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A table: on the CPU, whatever the device that is asked for. eye(out=) is torch.nn.init.eye_."""
    out = kwargs.get("out")
    if isinstance(out, Tensor):
        if func.__name__ != "eye" or recorder.storages.is_real(out):
            return func(*args, **kwargs)
        recorder.storages.write(out, Lawful(laws.Identity(), None, here()))
        return out
    if not recorder.none_recorded(args, kwargs):
        values = [recorder.storages.content(one) for one in recorder.tensors(args, kwargs)]
        numbers = [number_of(one) for one in values]
        if None in numbers or len(numbers) != 1:
            raise recorder.refuse_value(func.__name__)
        args = tuple(numbers[0] if isinstance(one, Tensor) else one for one in args)
    return recorder.born(func(*args, **_anywhere(kwargs, "cpu")))


@handles("as_tensor", "from_numpy", "asarray", "frombuffer", "hann_window", "hamming_window", "kaiser_window")
def _given(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Values from elsewhere."""
    if args and isinstance(args[0], Tensor):
        with recorder:
            return args[0].to(kwargs.get("dtype") or args[0].dtype)
    if str(kwargs.get("device", "cpu")) != "cpu":
        kwargs = {name: value for name, value in kwargs.items() if name != "device"}
    return recorder.born(func(*args, **kwargs))
