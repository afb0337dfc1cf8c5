from typing import TYPE_CHECKING

from dinov3_metadata.audit import audit_images, save
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    rows = audit_images(
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.wildcards.split,
        Scan.load(snakemake.input.scan),
        snakemake.wildcards.scatteritem,
        is_view=snakemake.params.layout != "imagenet",
    )
    save(rows, snakemake.output.rows)
