"""Every kind of fault there is: importing this makes the list complete."""

from chaos import (
    cluster_faults,
    disk_faults,
    hostile,
    network_faults,
    postgres_faults,
    process_faults,
    succession_faults,
)
from chaos.kinds import KINDS, Kind

__all__ = [
    "KINDS",
    "Kind",
    "cluster_faults",
    "disk_faults",
    "hostile",
    "network_faults",
    "postgres_faults",
    "process_faults",
    "succession_faults",
]
