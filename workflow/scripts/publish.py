from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.publish import publish

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    publish(
        snakemake.params.splits,
        snakemake.params.origin,
        snakemake.params.extra,
        snakemake.output.receipt,
        snakemake.params.keep,
    )
