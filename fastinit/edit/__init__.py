"""Change some tensors of a checkpoint without loading it: draw again, resize, copy, rename, delete, cast, add."""

from fastinit.edit.apply import Edited as Edited
from fastinit.edit.apply import edit as edit
from fastinit.edit.operations import Add as Add
from fastinit.edit.operations import Cast as Cast
from fastinit.edit.operations import Configure as Configure
from fastinit.edit.operations import Copy as Copy
from fastinit.edit.operations import Delete as Delete
from fastinit.edit.operations import Laws as Laws
from fastinit.edit.operations import Operation as Operation
from fastinit.edit.operations import Redraw as Redraw
from fastinit.edit.operations import Rename as Rename
from fastinit.edit.resizing import Resize as Resize
from fastinit.edit.value import Edit as Edit
from fastinit.lazy import be_called_by_function as _be_called_by_function

_be_called_by_function(__name__)
