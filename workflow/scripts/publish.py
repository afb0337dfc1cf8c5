import json
from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.publish import publish

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    publish(
        json.loads(Path(snakemake.input.report).read_bytes()),
        {Path(path).name: path for path in snakemake.input.arrays},
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.output.receipt,
    )
