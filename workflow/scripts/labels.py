from typing import TYPE_CHECKING

from dinov3_metadata.labels import load_labels
from dinov3_metadata.log import stage

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    load_labels(snakemake.params.path, snakemake.params.content, snakemake.output.labels)
