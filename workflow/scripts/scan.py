from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.scan import update_scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    update_scan(
        snakemake.params.root,
        snakemake.wildcards.split,
        snakemake.output.scan,
        snakemake.output.folders,
        snakemake.params.settings,
        snakemake.params.after,
        snakemake.params.published,
        snakemake.input.view or "",
        engine=snakemake.params.engine,
        unaddressable=snakemake.params.unaddressable,
        trust_timestamps=snakemake.params.trust_timestamps,
        threads=snakemake.threads,
        watch_links=snakemake.params.watch_links,
    )
