from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.files import remove_siblings
from dinov3_metadata.labels import read_labels
from dinov3_metadata.log import stage

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    read_labels(snakemake.params.path, snakemake.params.content).save(snakemake.output.labels)
    folder = Path(snakemake.output.labels).parent
    remove_siblings(folder, {used.name for used in folder.parent.parent.glob("*/*/labels-*")})
