"""Reads wait for what the client was told; closed and unknown orders are told apart. Postgres and NATS are real, the
recorder and the broadcaster are played."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.msg import Msg

from recorder.schema import migrate

from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer
