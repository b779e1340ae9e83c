"""How much is drawn at once: free numbers, which decide speed and never a bit; measured in docs/decisions.md."""

from fastinit.engines.stream import GROUP

BLOCK = 4096  # elements between words and law: 16 KiB of words and 16 KiB of values stay in the first-level cache
MARGIN = 16  # values before a block, where the end of the last one finds place: a cache line
SHORTEST_RUN = 1024  # rows of as many elements are filled one by one, shorter ones by tiles of several
# A tile of a transposed buffer: 64 columns of 4 KiB (float32), one page each. Rows begin anywhere in a group.
TILE_ROWS, TILE_COLS = 1024, 64
TILE = TILE_ROWS * (TILE_COLS + GROUP)  # elements of its groups
STRIP_STEP = TILE_ROWS + 16  # from column to column of a strip; at a power of two all would share a place in a cache
