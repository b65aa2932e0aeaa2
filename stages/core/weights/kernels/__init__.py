"""A second coding of what merges spend their time on: machine code with the same bytes as the plain coding.

elements.py    what every kernel does to a chunk: widen, subtract the base, mask, round
merging.py     block functions: the weighted sum, the TIES consensus
measuring.py   statistics: dot products, L1 norms, magnitude counts
sha256.py      SHA-256 of two streams at once
catalogue.py   the kernels by name, their arguments, and the types they exist for
compiling.py   numba makes an object file of a kernel; once per machine, never in a worker
loading.py     an object file becomes functions; needs llvmlite alone, neither numba nor torch
ready.py       where object files lie, and which a plan needs
fast.py        the backend that hands blocks to them
"""
