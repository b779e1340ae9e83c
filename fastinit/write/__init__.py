"""Write a plan as a checkpoint: files one after the other, each by all threads, each whole or absent."""

from fastinit.lazy import be_called_by_function as _be_called_by_function
from fastinit.write.checkpoint import SHARD_SIZE as SHARD_SIZE
from fastinit.write.checkpoint import Written as Written
from fastinit.write.checkpoint import check_shard_size as check_shard_size
from fastinit.write.checkpoint import write as write

_be_called_by_function(__name__)
