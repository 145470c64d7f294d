"""What a service writes to its log: lines for people, or JSON objects for programs that collect them.

What a line is about stands in fields of its own, where whoever logs gives them as `extra`; docs/observability.md names
them.
"""

import logging
import os
import sys
from datetime import UTC, datetime

import msgspec

_STANDARD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"))
_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonLines(logging.Formatter):
    """One object a line: time, service, level, logger, message, process, then the fields, then what went wrong."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "service": self._service,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()


def set_up(service: str) -> None:
    """As the environment wants it; what is wrong with that is said once the settings are read."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get("PRICETIME_LOG_FORMAT") == "json":
        handler.setFormatter(JsonLines(service))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {service} %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=os.environ.get("PRICETIME_LOG_LEVEL", "INFO"))
    logging.getLogger("httpx").setLevel(logging.WARNING)
