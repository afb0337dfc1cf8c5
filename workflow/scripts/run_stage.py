"""Run one stage for its rule, which passes everything that the stage needs as one JSON argument."""

import json
import sys

from dinov3_metadata.log import stage
from dinov3_metadata.paths import path_of
from dinov3_metadata.run import run_stage

call = json.loads(sys.argv[1])
with stage(path_of(call["extra"], f"{call['rule']}.log", **call["state"]), call.pop("level")):
    run_stage(**call)
