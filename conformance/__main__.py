"""`python -m conformance`: says what is missing before it starts."""

from __future__ import annotations

import sys

_NEEDED = ("openai", "pydantic", "websockets")


def _run() -> int:
    try:
        from conformance.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        print(
            f"The conformance command needs the package {error.name}, whose types or protocol it "
            "checks with. Install what it needs with\n"
            "    pip install 'openai[realtime]>=3.52,<4' pydantic",
            file=sys.stderr,
        )
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(_run())
