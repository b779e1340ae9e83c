"""A stand-in for PyTorch, so that the page of `fastinit.torch` is built without gigabytes of it.

It is Sphinx's own stand-in, which lacks the `|` of type aliases.
"""

from __future__ import annotations

from typing import Any

from sphinx.ext.autodoc.mock import _MockObject


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    _MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self
    return {"parallel_read_safe": True, "parallel_write_safe": True}
