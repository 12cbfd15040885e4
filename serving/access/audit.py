"""Table ``audit``: who did what at the server, and who was refused.

What changes something (the routes of :attr:`serving.access.roles.Role.ANALYST`) has its row in the table before it is
done: where the row cannot be written, it is not done. Several at a time share one commit. Refused attempts and sign-ins
wait some seconds for each other; those that are alike become one row with a count, and there is a most of rows, so
whoever tries a million times writes no more than who tries a hundred times.

No row has a user of the tables, a secret, or anything else that a client chose freely.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

from features.errors import EnvironmentProblem
from features.tables import AUDIT
from lake import arrow_tables
from settings import AuditSettings

log = logging.getLogger(__name__)

ALERT_ID = re.compile(r"[0-9a-f]{32}")
NETWORKS = {4: 24, 6: 48}
"""Bits of an address that say whose network it is, and not whose device."""


@dataclass(frozen=True)
class Deed:
    """What somebody did or tried; each field as in table ``audit``."""

    who: str
    role: str
    action: str
    outcome: str
    object: str | None = None
    client: str | None = None


@dataclass
class Audit:
    """Writes the table. One for a server; not for several event loops."""

    root: str
    settings: AuditSettings
    _kept: list[dict[str, Any]] = field(default_factory=list)
    _noted: dict[Deed, tuple[datetime, int]] = field(default_factory=dict)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def client(self, host: str) -> str | None:
        """A client's address as ``audit.addresses`` wants it."""
        if self.settings.addresses == "none":
            return None
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if self.settings.addresses == "full":
            return str(address)
        return str(ip_network((address, NETWORKS[address.version]), strict=False))

    async def keep(self, deed: Deed) -> None:
        """Return when the deed is in the table.

        Raises:
            EnvironmentProblem: it cannot be written; then it is not in the table, or may be by chance.
        """
        row = _row(deed, datetime.now(UTC), 1)
        self._kept.append(row)
        async with self._writing:
            if any(one is row for one in self._kept):  # else somebody else's commit had it
                try:
                    await self._write()
                except EnvironmentProblem:
                    self._kept = [one for one in self._kept if one is not row]
                    raise

    def note(self, deed: Deed) -> None:
        """Have the deed in the table some seconds later."""
        if deed not in self._noted and len(self._noted) >= self.settings.most_refusals:
            deed = replace(deed, who="others", action="others", object=None, client=None)
        self._noted[deed] = datetime.now(UTC), self._noted.get(deed, (None, 0))[1] + 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What is noted is written while the block runs, the rest when it ends."""
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._write_noted()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.flush_seconds)
            await self._write_noted()

    async def _write_noted(self) -> None:
        if not self._noted:
            return
        try:
            async with self._writing:
                await self._write()
        except EnvironmentProblem as problem:
            log.warning("%d kinds of refused attempts wait to be written to the audit: %s", len(self._noted), problem)

    async def _write(self) -> None:
        kept, noted = self._kept, self._noted
        self._kept, self._noted = [], {}
        rows = [*kept, *(_row(deed, at, times) for deed, (at, times) in noted.items())]
        try:
            await asyncio.shield(asyncio.to_thread(arrow_tables.append, self.root, AUDIT, rows))
        except EnvironmentProblem:
            self._kept = [*kept, *self._kept]
            for deed, (at, times) in noted.items():
                newer = self._noted.get(deed)
                self._noted[deed] = (at, times) if newer is None else (newer[0], newer[1] + times)
            raise


def object_of(names: dict[str, str]) -> str | None:
    """What of a path's open parts may be written: ids that the platform makes. Anything else might be a user."""
    alert_id = names.get("alert_id", "")
    return alert_id if ALERT_ID.fullmatch(alert_id) else None


def _row(deed: Deed, at: datetime, times: int) -> dict[str, Any]:
    return {"audit_id": uuid.uuid4().hex, "at": at, "times": times, **asdict(deed)}
