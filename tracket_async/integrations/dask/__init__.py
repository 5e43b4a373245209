"""Exports by several processes, on Dask (the extra ``dask``).

The dates of an export are cut into ranges (a plan), each of which one task reads and writes to a file (a part). The
parts are merged into one store, of which the outputs are made as on one machine.
"""
