"""Questions to the other services over NATS, JSON both ways."""

import asyncio

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from entry.problems import CODES, declined

_RETRY_SECONDS = 0.05


async def ask(connection: Client, subject: str, question: bytes, seconds: float, code: str) -> bytes:
    """The answer, waiting up to `seconds` for a service that is just starting. Raises Declined with `code`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (left := deadline - loop.time()) > 0:
        try:
            if connection.is_connected:
                return (await connection.request(subject, question, timeout=left)).data
        except NoRespondersError:
            pass  # nobody listens yet
        except (NatsError, TimeoutError):
            break
        await asyncio.sleep(_RETRY_SECONDS)
    raise declined(code, f"{CODES[code].meaning} Ask again after Retry-After seconds.")
