"""Benchmarks: fastinit beside its peers and the ceilings of the machine. `pytest --benchmark` times them.

A plain `pytest` runs every body once on 1 MiB. `python bench/report.py results` writes README's table.
"""
