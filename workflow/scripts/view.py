from pathlib import Path
from typing import TYPE_CHECKING

from dinov3_metadata.files import remove_siblings
from dinov3_metadata.fingerprint import last_records, write_record
from dinov3_metadata.log import stage
from dinov3_metadata.view import View

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with stage(snakemake.log[0], snakemake.config["log"]["level"]):
    work, settings = Path(snakemake.output.folders).parent, snakemake.params.settings
    _, noted = next(last_records(work.parent, settings), (None, None))
    folders = View(
        snakemake.params.dataset,
        snakemake.params.root,
        snakemake.params.extra,
        snakemake.wildcards.split,
        snakemake.params.layout,
    ).link(noted, snakemake.params.trust_timestamps, snakemake.threads)
    write_record(snakemake.output.folders, settings, folders)
    remove_siblings(work)
