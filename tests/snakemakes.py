"""A Python that has imported Snakemake, and forks for each run of it, which takes half as long.

Each line of its input is a run, as JSON: ``words`` of the command line after ``snakemake``, the
``environment``, the ``folder`` to run in, and the file for what it says, ``out``. Its answer is the
exit code.
"""

import json
import os
import runpy
import sys

import snakemake.cli  # noqa: F401

for line in sys.stdin:
    run = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for stream, path in ((0, os.devnull), (1, run["out"])):
        os.dup2(os.open(path, os.O_RDWR), stream)
    os.dup2(1, 2)
    os.environ.clear()
    os.environ.update(run["environment"])
    os.chdir(run["folder"])
    sys.path[0] = run["folder"]
    sys.argv[1:] = run["words"]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    break
