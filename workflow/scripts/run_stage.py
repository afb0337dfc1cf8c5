"""Run one stage for its rule, which passes everything that the stage needs as one JSON argument."""

import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's start takes half the time without more

from dinov3_metadata.log import stage
from dinov3_metadata.paths import path_of
from dinov3_metadata.run import run_stage

call = json.loads(sys.argv[1])
with stage(path_of(call["extra"], f"{call['rule']}.log", **call["state"]), call.pop("level")):
    run_stage(**call)
