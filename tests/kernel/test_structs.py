"""Structures are worked out before threads share them."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from coldgrid.kernel.structs import work_out_structs

# Threads that meet a structure for the first time together, as after a start; each round has fresh ones.
MEETING = """
import sys, threading, types
import msgspec
from coldgrid.kernel.structs import work_out_structs

sys.setswitchinterval(1e-6)
sys.modules["m"] = types.ModuleType("m")
inner = "".join(f"class N{n}(msgspec.Struct):\\n    a: int = 0\\n    b: 'str' = ''\\n" for n in range(30))
outer = "class A(msgspec.Struct):\\n" + "".join(f"    f{n}: N{n} | None = None\\n" for n in range(30))
data = msgspec.json.encode({f"f{n}": {"a": 1, "b": "x"} for n in range(30)})
for _ in range(150):
    made = {"__name__": "m", "msgspec": msgspec}
    exec(inner + outer, made)
    if sys.argv[1] == "before":
        work_out_structs()
    barrier = threading.Barrier(4)

    def meet():
        barrier.wait()
        msgspec.json.decode(data, type=made["A"])

    threads = [threading.Thread(target=meet) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_that_meet_a_structure_together_end_no_process() -> None:
    run = subprocess.run([sys.executable, "-c", MEETING, "before"], capture_output=True, check=False)
    assert run.returncode == 0, run


def test_each_structure_is_worked_out_once_and_one_that_cannot_be_decoded_harms_nothing() -> None:
    class One(msgspec.Struct):
        a: int

    class Other(msgspec.Struct):
        a: int

    class Undecodable(msgspec.Struct):
        either: One | Other

    assert work_out_structs() >= 3
    assert work_out_structs() == 0
    assert msgspec.json.decode(b'{"a":1}', type=One) == One(1)
    assert Undecodable(One(1)).either == One(1)
