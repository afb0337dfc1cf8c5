from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.publish import load_report, publish

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    publish(
        load_report(snakemake.input.report),
        {Path(path).name: path for path in snakemake.input.arrays},
        snakemake.params.origin,
        snakemake.params.extra,
        snakemake.output.receipt,
        snakemake.input.scan,
    )
