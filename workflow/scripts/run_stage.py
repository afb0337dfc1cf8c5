"""Run one stage for its rule.

The arguments are the folder with the package, and what the stage needs, as JSON.
"""

import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's start takes half the time without more

# The job must run the code that started it, whatever is installed. What else is in that folder must
# not hide the packages of this Python.
sys.path.insert(0, sys.argv[1])
import dinov3_metadata  # noqa: F401

sys.path.remove(sys.argv[1])

from dinov3_metadata.log import stage
from dinov3_metadata.paths import path_of
from dinov3_metadata.run import run_stage

call = json.loads(sys.argv[2])
with stage(path_of(call["extra"], f"{call['rule']}.log", **call["state"]), call.pop("level")):
    run_stage(**call)
