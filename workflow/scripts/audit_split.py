from typing import TYPE_CHECKING

from dinov3_metadata.audit import publish_audit
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    publish_audit(
        snakemake.input.rows,
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.wildcards.split,
        Scan.load(snakemake.input.scan),
        snakemake.params.fail_on,
        snakemake.output.summary,
        snakemake.params.keep,
    )
