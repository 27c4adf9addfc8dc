"""The modules of this folder can be imported by the benchmarks, which pytest imports by their path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
