from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.view import update_view

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    update_view(
        snakemake.params.dataset,
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.wildcards.split,
        snakemake.params.layout,
        snakemake.params.annotations,
        snakemake.output.folders,
        snakemake.params.settings,
        snakemake.params.published,
        snakemake.params.trust_timestamps,
        snakemake.threads,
    )
