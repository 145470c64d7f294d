"""Order entry: from the JSON that a client sends to a command, and from the matcher's answer back to JSON.

A library, not a service: the gateway uses it for REST and NATS, the broadcaster for WebSocket, so that an order means
the same whichever way it comes in (docs/decisions/0014).
"""
