"""Ranks: which of the processes of a training this one is."""

from __future__ import annotations  # DINOv2's own environment has Python 3.9

from collections.abc import Mapping

RANKS = {
    "RANK": "WORLD_SIZE",
    "LOCAL_RANK": "LOCAL_WORLD_SIZE",
    "SLURM_PROCID": "SLURM_NTASKS",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
}
"""Variable with the rank of a process -> variable with the number of processes: of torchrun, Slurm,
Open MPI, and MPICH or Intel MPI."""


def is_first(environment: Mapping[str, str]) -> bool:
    """Return whether this process is rank 0, or the only one.

    A rank counts only together with the number of processes, because a variable that somebody left
    behind must not keep every process from looking. Where several are set, as torchrun inherits
    those of Slurm, rank 0 has 0 in each.
    """
    for rank, size in RANKS.items():
        values = environment.get(rank, ""), environment.get(size, "")
        if all(map(str.isdecimal, values)) and 0 < int(values[0]) < int(values[1]):
            return False
    return True
