"""Look at weights: read the tensors of safetensors files, and set them out as a table or a page."""

from fastinit.lazy import be_called_by_function as _be_called_by_function
from fastinit.show.files import ITEM as ITEM
from fastinit.show.files import show as show
from fastinit.show.page import html as html
from fastinit.show.shown import Shown as Shown
from fastinit.show.shown import TensorShown as TensorShown
from fastinit.show.table import table as table

_be_called_by_function(__name__)
