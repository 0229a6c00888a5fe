import os
import subprocess
import sys

from benchmarks.processes import cpu_seconds, stubs, tree


def test_cpu_of_a_tree_counts_children():
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**9))'])"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.DEVNULL)
    try:
        used = 0.0
        for _ in range(2000):
            used = cpu_seconds({"it": process.pid})["it"]
            if used > 0.3 and len(tree(process.pid)) == 2:
                break
        assert used > 0.3
    finally:
        for member in reversed(tree(process.pid)):
            member.kill()
        process.wait()


def test_a_process_that_is_gone_uses_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tree(process.pid) == []
    assert cpu_seconds({"gone": process.pid}) == {"gone": 0}


def test_stubs_are_told_by_their_command_line(tmp_path):
    found = {}
    for model in ("digits", "digits-wide"):
        program = tmp_path / model / "1" / "model.py"
        program.parent.mkdir(parents=True)
        program.write_text("input()")
        argv = ["/backends/python/triton_python_backend_stub", str(program)]
        found[model] = subprocess.Popen(argv, executable=sys.executable, stdin=subprocess.PIPE)
    try:
        assert [process.pid for process in stubs(os.getpid(), "digits")] == [found["digits"].pid]
    finally:
        for process in found.values():
            process.kill()
            process.communicate()
