"""Runs all doubles; a further vendor is one more module with an `add_routes`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.doubles import deepgram, edge, elevenlabs, openai_api
from tests.doubles.server import Double

_VENDORS = (deepgram, edge, elevenlabs, openai_api)


@asynccontextmanager
async def running_double() -> AsyncGenerator[Double]:
    """Serve all doubles on a free port of 127.0.0.1, in the loop of the caller."""
    double = Double()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for vendor in _VENDORS:
        vendor.add_routes(app, double)
    runner = double.runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        double.port = runner.addresses[0][1]
        yield double
    finally:
        double.closing.set()
        await runner.cleanup()


@asynccontextmanager
async def refusing(double: Double) -> AsyncGenerator[None]:
    """Refuse new connections until the end of the block; those that are open stay."""
    runner = double.runner
    (site,) = runner.sites
    await site.stop()
    try:
        yield
    finally:
        await web.TCPSite(runner, "127.0.0.1", double.port).start()
