# Start-up: the settings, and what connects each rule with its stage.

import os
import re
import sys
from pathlib import Path

# A checkout has the package beside its rules. A wheel has the rules in the package.
if os.path.isdir(f"{HOUSE}/workflow/dinov3_metadata"):
    sys.path.insert(0, f"{HOUSE}/workflow")
try:
    from dinov3_metadata.paths import house

    is_same = os.path.samefile(house(), HOUSE)
except ImportError:
    is_same = False
if not is_same:
    loaded = sys.modules.get("dinov3_metadata")
    found = (
        f"version {loaded.__version__} in {os.path.dirname(loaded.__file__)}" if loaded else "none"
    )
    sys.exit(
        f"Error: The rules in {HOUSE} need the dinov3_metadata of the same copy, but the Python that runs "
        f"Snakemake, {sys.executable}, has {found}. Use one copy for all modules, or install "
        "dinov3-metadata for this Python and name its Snakefile."
    )

from dinov3_metadata.binding import Binding
from dinov3_metadata.config import check_config, check_file, prepare, settings_of, with_defaults
from dinov3_metadata.demo import make_demo
from dinov3_metadata.extras import check_installed
from dinov3_metadata.jobs import workflow_profile
from dinov3_metadata.log import ending_plainly, escape
from dinov3_metadata.paths import WILDCARDS, check_encoding
from dinov3_metadata.present import Chain
from dinov3_metadata.summary import failures, summarise
from dinov3_metadata.workdir import check_workdir

if not IS_MODULE:
    with ending_plainly():
        check_encoding()
        check_file(f"{HOUSE}/config.yaml")

    configfile: f"{HOUSE}/config.yaml"


config = with_defaults(prepare(config))  # another object: an importer's config stays as it is
with ending_plainly():
    check_workdir(Path.cwd())
    if not IS_MODULE:
        workflow_profile(sys.argv[1:])
    check_config(config)
    settings = settings_of(config, IS_MODULE)
    if IS_MODULE:
        from dinov3_metadata.imported import bind

        stages = bind(workflow, settings)
        published = stages.published
    else:
        if not config["root"]:
            demo = config["demo"]
            make_demo(
                settings.root, f"{HOUSE}/workflow/demo_labels.txt", demo["images"], demo["faults"]
            )
        stages = Binding(workflow, Chain(settings))


wildcard_constraints:
    **WILDCARDS,
