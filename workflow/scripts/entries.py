from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.disk import remove_folders
from dinov3_metadata.entries import dump_entries
from dinov3_metadata.labels import Labels
from dinov3_metadata.log import stage
from dinov3_metadata.scan import Scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    rows = Path(snakemake.output.entries).parent
    remove_folders(rows.parent, {rows.name})
    labels = Labels.load(snakemake.input.labels) if snakemake.input.labels else None
    dump_entries(Scan.load(snakemake.input.scan), labels, snakemake.output.entries)
