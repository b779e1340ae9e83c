"""The draw of another tensor: what a model's code copies has the same values, though not the same memory."""

from __future__ import annotations

from dataclasses import dataclass

from fastinit.address import stream_id
from fastinit.laws.law import Element, Law, LawOfValues


@dataclass(frozen=True)
class Copy(LawOfValues):
    """`values`, a law, at the address of the tensor called `name`: its values, or those scaled if the law is.

    A layer that copy.deepcopy makes of another, as torch.nn.TransformerEncoder does, has it. It stands for a whole
    tensor, not for a part of one. Raises TypeError or ValueError for a law that is none, or is a copy itself, and for a
    name that is no string.
    """

    values: Law
    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.values, Law) or isinstance(self.values, Copy):
            raise TypeError(f"Copy: values is {self.values!r}; pass another law, such as laws.Normal(0.0, 0.02)")
        if not isinstance(self.name, str):
            raise TypeError(f"Copy: name is {self.name!r}; pass the name of the tensor that is copied")
        stream_id(self.name)  # refuse what UTF-8 cannot encode

    @property
    def draws(self) -> bool:  # type: ignore[override]
        """Whether chance has a part in the law."""
        return self.values.draws

    @property
    def floats_only(self) -> bool:  # type: ignore[override]
        """Whether the law needs floats."""
        return self.values.floats_only

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """That of the law."""
        return self.values.marginal(shape)
