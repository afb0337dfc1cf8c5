from typing import TYPE_CHECKING

from dinov3_metadata.log import stage
from dinov3_metadata.scan import scan_split

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    scan = scan_split(
        snakemake.params.root,
        snakemake.wildcards.split,
        engine=snakemake.params.engine,
        unaddressable=snakemake.params.unaddressable,
    )
    scan.save(snakemake.output.scan)
