"""Is nats-server well, or Postgres, and when is one unwell for so long that only a restart helps?

After a full disk or a failed write nats-server refuses writes until it is started again, though it answers everything
else: its /healthz is the only sign. A node of a cluster is also unwell while it waits for the others or catches up with
them: starting it again would only begin that anew.
"""

import re
from dataclasses import dataclass
from enum import Enum

import httpx
import psutil

from cli.servers import NatsPlan


class Health(Enum):
    WELL = "well"
    UNWELL = "unwell"
    BROKEN = "broken"
    """It has failed to write: no time helps, also not one that was never seen well."""
    SILENT = "silent"
    WAITING = "waiting"
    """A node without the others, or behind them: time helps, a restart does not."""


_BROKEN = re.compile(r"write error|apply error|not enabled|not running")
"""What a node of a cluster says when waiting is no use."""
_WRITE_ERROR = re.compile(r"write error|apply error")
_PATIENCE_SECONDS = {Health.UNWELL: 5.0, Health.BROKEN: 5.0, Health.SILENT: 15.0}
"""Silence may only mean that the machine is busy."""


@dataclass(slots=True)
class HealthWatch:
    """Fed with each finding and its time, says when to restart. A server that was never well is left to start up."""

    _last_well: float | None = None

    def should_restart(self, health: Health, now: float) -> bool:
        if health is Health.BROKEN and self._last_well is None:
            self._last_well = now  # it has started up, and the disk was full before anybody had looked
            return False
        if health is Health.WELL or (health is Health.WAITING and self._last_well is not None):
            self._last_well = now
            return False
        if health is Health.WAITING:
            return False
        return self._last_well is not None and now - self._last_well >= _PATIENCE_SECONDS[health]


@dataclass(frozen=True, slots=True)
class Finding:
    health: Health
    why: str = ""


async def nats_health(client: httpx.AsyncClient, plan: NatsPlan) -> Finding:
    """Of our own server: one with another name that took the port counts as silence."""
    try:
        answer = await client.get(f"{plan.monitor_url}/healthz")
        name = (await client.get(f"{plan.monitor_url}/varz")).json()["server_name"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return Finding(Health.SILENT, f"does not answer on {plan.monitor_url} ({type(error).__name__})")
    if name != plan.name:
        return Finding(Health.SILENT, f"is not there; {plan.monitor_url} is another server, {name}")
    if answer.status_code != 200:
        return Finding(_unwell(answer.text, plan), f"says that it is not well: {answer.text.strip()[:300]}")
    return Finding(Health.WELL)


def _unwell(says: str, plan: NatsPlan) -> Health:
    if _WRITE_ERROR.search(says):
        return Health.BROKEN
    return Health.WAITING if plan.cluster and not _BROKEN.search(says) else Health.UNWELL


POSTGRES_STUCK_SECONDS = 15.0


def is_recovering(postmaster: int) -> bool:
    """Whether a Postgres that takes no connections is at work on its recovery: that may take as long as it needs.

    When the disk fails once more during it, the process that recovers ends, and PostgreSQL 18 can be left waiting for
    it for ever ("the database system is in recovery mode").
    """
    try:
        children = psutil.Process(postmaster).children()
    except psutil.NoSuchProcess:
        return True  # it is being started
    return any("startup" in each for each in map(_title, children))


def _title(process: psutil.Process) -> str:
    """What Postgres says of what the process does."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "startup"  # it has just ended, or is only just there: look again
