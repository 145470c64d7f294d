"""How far the readable history has come, and how far it must have come for a client to see what it was told.

`told` is the highest journal sequence in any answer of this gateway, `reached` the one that Postgres has, as the
recorder announces it.
"""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Position:
    told: int = 0
    reached: int = 0
    _waiting: list[tuple[int, "asyncio.Future[None]"]] = field(default_factory=list)

    def tell(self, sequence: int) -> None:
        self.told = max(self.told, sequence)

    def announce(self, sequence: int) -> None:
        """Postgres has this. It can only be less than before after a restore; then readers wait again."""
        self.reached = sequence
        for target, future in self._waiting:
            if target <= sequence and not future.done():
                future.set_result(None)

    async def wait(self, sequence: int, seconds: float) -> bool:
        """Whether `reached` came to `sequence` in time."""
        if self.reached >= sequence:
            return True
        waiting = (sequence, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await asyncio.wait_for(waiting[1], seconds)
            return True
        except TimeoutError:
            return self.reached >= sequence
        finally:
            self._waiting.remove(waiting)
