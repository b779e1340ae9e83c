"""Boxes of a tensor: which part of it a view is, and how boxes lie to each other."""

from __future__ import annotations

from collections.abc import Sequence

from fastinit.torch.record.contents import Region

Box = tuple[tuple[int, int], ...]  # [begin, end) along each axis


def box_of(whole: Region, part: Region) -> Box | None:
    """The box of a tensor that a part of its memory is; None where it is none."""
    rest = part.offset - whole.offset
    axes = sorted((i for i, n in enumerate(whole.shape) if n > 1), key=lambda i: -whole.strides[i])
    begins, sizes = [0] * len(whole.shape), [1] * len(whole.shape)
    if rest < 0:
        return None
    for i in axes:
        if whole.strides[i]:
            begins[i], rest = divmod(rest, whole.strides[i])
    if rest:
        return None
    for n, step in zip(part.shape, part.strides, strict=True):
        if n == 1:
            continue
        axis = next((i for i in axes if whole.strides[i] == step and sizes[i] == 1), None)
        if axis is not None and begins[axis] + n <= whole.shape[axis]:
            sizes[axis] = n
            continue
        # Axes that the view had made one: the last of them has its step.
        run = [axis] if axis is not None else [i for i in axes if whole.strides[i] == step][:1]
        if not run or not _merged(whole, sizes, begins, run[0], n):
            return None
    return tuple((begin, begin + size) for begin, size in zip(begins, sizes, strict=True))


def _merged(whole: Region, sizes: list[int], begins: list[int], axis: int, count: int) -> bool:
    """Spread `count` elements over an axis and those before it, if they are whole rows."""
    while count > 1:
        length = whole.shape[axis]
        if axis == 0 or count <= length:
            if begins[axis] + count > length:
                return False
            sizes[axis] = count
            return True
        if begins[axis] or count % length or whole.strides[axis - 1] != whole.strides[axis] * length:
            return False
        sizes[axis], count, axis = length, count // length, axis - 1
    return True


def covers(over: Box, under: Box) -> bool:
    """Whether one box holds all of another."""
    return all(a[0] <= b[0] and b[1] <= a[1] for a, b in zip(over, under, strict=True))


def meet(one: Box, box: Box) -> bool:
    """Whether two boxes share an element."""
    return all(a < d and c < b for (a, b), (c, d) in zip(one, box, strict=True))


def common(one: Box, box: Box) -> Box:
    """What two boxes share."""
    return tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, box, strict=True))


def are_disjoint(boxes: Sequence[Box]) -> bool:
    """Whether no two boxes meet, sorted along the axis in which they begin at the most places."""
    axis = max(range(len(boxes[0])), key=lambda i: len({cut[i][0] for cut in boxes}))
    ordered = sorted(boxes, key=lambda cut: cut[axis])
    open_boxes: list[Box] = []
    for cut in ordered:
        open_boxes = [one for one in open_boxes if one[axis][1] > cut[axis][0]]
        if any(meet(one, cut) for one in open_boxes):
            return False
        open_boxes.append(cut)
    return True
