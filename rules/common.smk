# Start-up: the settings, and what connects each rule with its stage.

import os
import re
import sys

from snakemake.utils import validate

# Each job is a new process, and must run the code of this checkout, whatever is installed.
PACKAGES = os.path.join(workflow.basedir, "workflow")
if os.pathsep in PACKAGES:
    sys.exit(f"Error: {workflow.basedir} contains a {os.pathsep!r}. Move it to a path without one.")
sys.path.insert(0, PACKAGES)
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH")]))
)

from dinov3_metadata.binding import Binding
from dinov3_metadata.config import explain, is_good, prepare, settings_of, with_defaults
from dinov3_metadata.demo import make_demo
from dinov3_metadata.errors import printable
from dinov3_metadata.extras import check_installed
from dinov3_metadata.log import ending_plainly
from dinov3_metadata.paths import WILDCARDS
from dinov3_metadata.present import Chain
from dinov3_metadata.summary import failures, summarise

config |= with_defaults(prepare(config))
try:
    if not is_good(config):
        validate(config, "../workflow/schemas/config.schema.yaml")
except WorkflowError as error:
    sys.exit(f"Error: {printable(explain(error.__context__))}")
with ending_plainly():
    settings = settings_of(config)
    if not config["root"]:
        make_demo(settings.root, f"{PACKAGES}/demo_labels.txt", config["demo"]["images"])
    stages = Binding(workflow, Chain(settings))


wildcard_constraints:
    **WILDCARDS,
