"""`python -m tests.fuzz --messages 1000000 --seed 1`: a long run, with figures and failures."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from loguru import logger as pipecat_log

from tests.fuzz.campaign import campaign, run_sessions


def main() -> int:
    """Run; the exit status says whether anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many to send, at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--session", type=int, help="only this session of the seed")
    parser.add_argument("--wire", action="store_true", help="over real WebSockets, real time")
    options = parser.parse_args()
    pipecat_log.remove()
    if options.wire:
        from tests.fuzz.wire import fuzz_wire

        problems = asyncio.run(fuzz_wire(options.seed, options.messages))
        print("\n".join(problems) or f"{options.messages} messages over WebSockets: nothing found")
        return bool(problems)
    start_s = time.monotonic()
    if options.session is not None:
        figures = run_sessions(options.seed, range(options.session, options.session + 1))
    else:
        figures = None
        for figures in campaign(options.seed, options.messages, options.workers):
            rate = figures.messages / (time.monotonic() - start_s)
            memory = ", ".join(f"{mb:.0f}" for mb in figures.resident_mb.values())
            print(
                f"{figures.messages} messages, {rate:.0f}/s, memory {memory} MB, "
                f"{len(figures.failures)} failures",
                file=sys.stderr,
            )
        assert figures is not None
    print(figures)
    for failure in figures.failures.values():
        print(f"\n{failure}")
    return bool(figures.failures)


if __name__ == "__main__":
    sys.exit(main())
