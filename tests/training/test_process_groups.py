import subprocess
import sys

PROGRAM = """
import atexit
from torch import distributed
# What is registered first runs last.
atexit.register(lambda: print("left" if not distributed.is_initialized() else "still in"))
{call}
distributed.init_process_group("gloo", init_method="file://{file}", rank=0, world_size=1)
"""
CALL = "from farl_hf.training.trainer import leave_group_at_exit; leave_group_at_exit()"


def last_word(call, file):
    program = PROGRAM.format(call=call, file=file)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip()


def test_the_group_is_left_before_the_process_ends(tmp_path):
    assert last_word(CALL, tmp_path / "one") == "left"
    assert last_word("", tmp_path / "two") == "still in"  # which is what the call is for
