"""What a process asks of system and interpreter; in a process of its own, for it lasts."""

import subprocess
import sys


def test_limits_are_raised_memory_is_kept_and_the_collector_is_spared() -> None:
    program = """
import gc, resource
from router.process.tuning import COLLECT_AFTER, keep_freed_memory, raise_descriptor_limit, spare_the_collector
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
raise_descriptor_limit(); keep_freed_memory(); spare_the_collector()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
assert gc.get_freeze_count() > 0 and gc.get_threshold()[0] == COLLECT_AFTER
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
