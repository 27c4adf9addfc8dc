"""What `import stepwell` costs: a process that does it against one that does nothing, in turns; the smallest of each.

Both run with compiled bytecode, as what pip installs has it, also where the environment forbids to write any. Their
processor time is taken, which on a machine of one's own is the time that passes, and elsewhere is still that.
"""

import os
import resource
import subprocess
import sys
import tempfile

ROUNDS = 21


def measured(backend: str) -> float:
    """Milliseconds that the import adds, with this backend."""
    with tempfile.TemporaryDirectory() as compiled:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "STEPWELL_BACKEND": backend}
        env.pop("PYTHONDONTWRITEBYTECODE", None)

        def seconds(code: str) -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True, env=env)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        seconds("import stepwell")
        pairs = [(seconds("import stepwell"), seconds("pass")) for _ in range(ROUNDS)]
    with_it, bare = map(min, zip(*pairs, strict=True))
    return (with_it - bare) * 1e3


if __name__ == "__main__":
    for name in sys.argv[1:] or ["auto"]:
        print(f"{name:8} {measured(name):5.1f} ms")
