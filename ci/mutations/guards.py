"""Where faults are planted, and the test files that guard each module: of their tests those run that pass the line.

They are the files that test a module in this process and take no minutes; what only they catch is counted.
"""

from __future__ import annotations

_LAWS = ("tests/unit/test_laws.py", "tests/unit/test_bad_input.py", "tests/unit/test_plan.py")
_WALKS = ("tests/unit/test_fill.py", "tests/unit/test_bad_input.py", "tests/laws/test_location.py")

GUARDS: dict[str, tuple[str, ...]] = {
    "fastinit/address.py": (
        *("tests/unit/test_address.py", "tests/unit/test_drawn_seeds.py", "tests/unit/test_show_parts.py"),
        *_WALKS,
    ),
    "fastinit/laws/arithmetic.py": ("tests/unit/test_arithmetic.py",),
    "fastinit/laws/blocks.py": (
        *("tests/unit/test_parts.py", "tests/laws/test_blocks.py", "tests/laws/test_complex.py"),
        *("tests/unit/test_plan.py", "tests/unit/test_show_parts.py"),
    ),
    "fastinit/laws/copied.py": ("tests/unit/test_copied.py",),
    "fastinit/laws/functions.py": ("tests/unit/test_laws.py",),
    "fastinit/laws/given.py": ("tests/unit/test_given.py",),
    "fastinit/laws/independent.py": (*_LAWS, "tests/laws/test_ranges.py", "tests/unit/test_known_answers.py"),
    "fastinit/laws/law.py": (*_LAWS, "tests/unit/test_fill.py"),
    "fastinit/laws/law_json.py": ("tests/unit/test_laws.py", "tests/unit/test_plan.py", "tests/unit/test_given.py"),
    "fastinit/laws/mamba.py": ("tests/unit/test_mamba.py", "tests/unit/test_bad_input.py"),
    "fastinit/laws/marginals.py": (
        *("tests/unit/test_laws.py", "tests/unit/test_parts.py", "tests/laws/test_complex.py"),
        *("tests/unit/test_show.py", "tests/laws/test_sparse.py"),
    ),
    "fastinit/laws/patterns.py": ("tests/laws/test_patterns.py", "tests/laws/test_batches.py", *_LAWS),
    "fastinit/laws/planar.py": ("tests/laws/test_complex.py",),
    "fastinit/laws/replayed.py": ("tests/unit/test_replayed.py",),
    "fastinit/laws/structured.py": (
        *("tests/laws/test_sparse.py", "tests/laws/test_orthogonal.py", "tests/laws/test_padded.py"),
        *("tests/laws/test_batches.py", *_LAWS),
    ),
    "fastinit/fill/buffers.py": _WALKS,
    "fastinit/fill/call.py": (*_WALKS, "tests/unit/test_drawn_seeds.py"),
    "fastinit/fill/constants.py": _WALKS,
    "fastinit/fill/foreign.py": (*_WALKS, "tests/unit/test_foreign_buffers.py"),
    "fastinit/fill/kept_policies.py": ("tests/laws/test_store_policies.py",),
    "fastinit/fill/many.py": ("tests/laws/test_fill_many.py",),
    "fastinit/fill/policies.py": ("tests/laws/test_store_policies.py", "tests/laws/test_past_cache.py"),
    "fastinit/fill/memory.py": (*_WALKS, "tests/laws/test_past_cache.py"),
    "fastinit/fill/orthogonal.py": ("tests/laws/test_orthogonal.py", "tests/laws/test_batches.py"),
    "fastinit/fill/parts.py": ("tests/unit/test_verify.py",),
    "fastinit/fill/replay.py": ("tests/unit/test_replayed.py",),
    "fastinit/fill/runs.py": (
        *(*_WALKS, "tests/laws/test_blocks.py", "tests/laws/test_far_offsets.py", "tests/laws/test_complex.py"),
        "tests/laws/test_past_cache.py",
    ),
    "fastinit/fill/shaped.py": (*_WALKS, "tests/laws/test_blocks.py", "tests/laws/test_patterns.py"),
    "fastinit/fill/sparse.py": ("tests/laws/test_sparse.py", "tests/laws/test_past_cache.py"),
    "fastinit/files/publish.py": ("tests/files/test_publish.py", "tests/files/test_place.py"),
}
