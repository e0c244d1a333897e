"""`python -m bench.guarded KIND LIBRARY COUNTS WORD...`: the router, with what it does counted into a file.

KIND: `calls` of functions, or `allocations`; LIBRARY: the compiled counting.c; WORD...: the router's command line.
"""

import ctypes
import sys

from router.cli import main

if __name__ == "__main__":
    kind, library, counts, *words = sys.argv[1:]
    counting = ctypes.PyDLL(library)
    if not counting.open_counts(counts.encode()):
        sys.exit(f"{counts} cannot be mapped")
    counting[f"count_{kind}"]()
    sys.exit(main(words))
