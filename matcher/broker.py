"""Whether the broker may be trusted with the journal: it syncs every write, and its stream forgets nothing."""

import httpx
from nats.aio.client import Client

from runtime.connection import without_password
from runtime.journal import ensure_stream
from runtime.service import Refused
from runtime.settings import Settings


class MonitorUnreachable(Refused):
    """nats-server's monitoring port does not answer."""


async def check_broker(connection: Client, settings: Settings) -> None:
    """Refuse a broker that would acknowledge what a power cut can take back (docs/decisions/0002)."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        try:
            server = (await client.get(f"{settings.nats_monitor_url}/varz")).json()
        except (httpx.HTTPError, ValueError) as error:
            raise MonitorUnreachable(
                f"cannot read {settings.nats_monitor_url}/varz ({error or type(error).__name__}): set "
                "PRICETIME_NATS_MONITOR_URL to where nats-server answers its monitoring port"
            ) from error
    if server.get("server_id") != connection._server_info.get("server_id"):
        raise Refused(
            f"{settings.nats_monitor_url} belongs to nats-server {server.get('server_name')}, not to the one at "
            f"{without_password(settings.nats_url)}: make PRICETIME_NATS_MONITOR_URL and PRICETIME_NATS_URL agree"
        )
    if server.get("jetstream", {}).get("config", {}).get("sync_always") is not True:
        raise Refused(
            "nats-server does not sync every write: an acknowledged order could be lost. Put `sync_interval: always` "
            "into its jetstream block (nats/pricetime.conf has it)"
        )


async def check_stream(connection: Client, settings: Settings) -> None:
    """Create the journal's stream if there is none; refuse one that may forget or lose messages."""
    if wrong := await ensure_stream(connection, settings.journal_replicas):
        raise Refused(f"stream JOURNAL cannot be trusted: {'; '.join(wrong)}. Mend it with `nats stream edit JOURNAL`")
