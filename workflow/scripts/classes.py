from typing import TYPE_CHECKING

from dinov3_metadata.classes import dump_class_arrays
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    dump_class_arrays(
        snakemake.input.entries,
        Scan.load(snakemake.input.scan),
        snakemake.output.class_ids,
        snakemake.output.class_names,
    )
