"""The command line: arguments in, report out, exit code."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from conformance import report
from conformance.audio import DEFAULT_CLIP, UnusableAudio, load_clip
from conformance.client import Pace
from conformance.lab import Target
from conformance.oracle import Dialect
from conformance.registry import BOTH, CHECKS, SECTIONS, Failed
from conformance.rules import RULES
from conformance.runner import DialectReport, declines_beta, opening, run

EXIT_CONFORMS = 0
EXIT_FAILED = 1
EXIT_UNUSABLE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when nothing required failed, 1 when something did, 2 when nothing could be measured.
    """
    options = _parser().parse_args(argv)
    if options.list:
        print(_listing())
        return EXIT_CONFORMS
    if options.url is None:
        print("Give the server's address: ws://host/v1/realtime", file=sys.stderr)
        return EXIT_UNUSABLE
    try:
        clip = load_clip(options.audio)
    except UnusableAudio as error:
        if options.audio != DEFAULT_CLIP:
            print(error, file=sys.stderr)
            return EXIT_UNUSABLE
        clip = None
    target = Target(
        options.url,
        options.api_key,
        clip,
        Pace(options.timeout, options.settle, realtime=options.pace == "realtime"),
    )
    dialects: tuple[Dialect, ...] = BOTH if options.dialect == "both" else (options.dialect,)
    try:
        reports = asyncio.run(_run(target, dialects, options.section, options.jobs))
    except Failed as failure:
        print(f"Nothing to measure at {options.url}: {failure.explanation}", file=sys.stderr)
        return EXIT_UNUSABLE
    print(report.text(options.url, reports))
    if options.json:
        values = report.as_json(options.url, reports)
        options.json.write_text(json.dumps(values, ensure_ascii=False, indent=1, default=str))
    if not any(result.outcome != "not measured" for part in reports for result in part.results):
        return EXIT_UNUSABLE
    return EXIT_CONFORMS if all(part.conforms for part in reports) else EXIT_FAILED


async def _run(
    target: Target, dialects: Sequence[Dialect], sections: Sequence[str], jobs: int
) -> list[DialectReport]:
    reports: list[DialectReport] = []
    for dialect in dialects:
        first = await opening(target, dialect)
        if dialect == "beta" and declines_beta(first):
            print("The server declines the beta dialect, as OpenAI does since May 2026.\n")
            continue
        if first["type"] == "error":
            raise Failed(f"The session was refused: {report.shortened(first.get('error'))}.")
        reports.append(await run(target, dialect, sections=sections, jobs=jobs))
    return reports


def _listing() -> str:
    lines: list[str] = []
    for section, about in SECTIONS.items():
        lines.append(f"{section}: {about}")
        for entry in (*CHECKS.values(), *RULES):
            if entry.section == section:
                lines.append(f"  {entry.id}  ({entry.level})  {entry.title}  [{entry.source}]")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Hold a server of the OpenAI Realtime protocol against its rules.",
    )
    parser.add_argument("url", nargs="?", help="ws://host/v1/realtime; `?model=` is kept if given")
    parser.add_argument("--dialect", choices=(*BOTH, "both"), default="both")
    parser.add_argument("--api-key", metavar="K", help="sent as a Bearer token")
    parser.add_argument(
        "--section",
        action="append",
        default=[],
        choices=tuple(SECTIONS),
        metavar="NAME",
        help="only this section; may be given several times",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument(
        "--audio",
        type=Path,
        default=DEFAULT_CLIP,
        metavar="FILE",
        help="what to say: a few words, 16-bit mono WAV at 24 kHz (default: “hello world”)",
    )
    parser.add_argument("--timeout", type=float, default=15.0, metavar="S", help="for each answer")
    parser.add_argument(
        "--settle", type=float, default=1.0, metavar="S", help="how long nothing must come"
    )
    parser.add_argument(
        "--pace",
        choices=("realtime", "fast"),
        default="realtime",
        help="send speech as a microphone does, or at once",
    )
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="checks at a time")
    parser.add_argument("--list", action="store_true", help="list all checks and leave")
    return parser
