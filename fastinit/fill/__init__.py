"""How a law gets into memory: checks, addresses, chunks, threads, and the way of each kind of law."""

from fastinit.fill.call import fill as fill
from fastinit.fill.call import new as new
from fastinit.fill.many import fill_many as fill_many
