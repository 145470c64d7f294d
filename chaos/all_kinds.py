"""Every kind of fault there is: importing this makes the list complete."""

from chaos import disk_faults, hostile, network_faults, postgres_faults, process_faults
from chaos.kinds import KINDS, Kind

__all__ = ["KINDS", "Kind", "disk_faults", "hostile", "network_faults", "postgres_faults", "process_faults"]
