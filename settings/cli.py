"""The command line all jobs share: ``--env``, ``--set``, exit codes 0, 1, 2, and errors as one sentence."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from features.errors import BehaviorError

log = logging.getLogger(__name__)

Environment = Annotated[str, typer.Option("--env", help="Which conf/ENV.yaml to use.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated.")
]
Once = Annotated[bool, typer.Option("--once", help="Process what is there, then exit, instead of running on.")]


WithOwner = Annotated[
    bool, typer.Option("--with-owner", help="Stop when standard input closes, as it does when the starter dies.")
]


LogFormat = Annotated[
    str | None, typer.Option(help="A log's own format string, as nginx's log_format or Apache's LogFormat has it.")
]
ClientField = Annotated[
    str | None,
    typer.Option(
        help="Where a log says who asked: forwarded (X-Forwarded-For), a field's number from 1, or its name where "
        "fields have names; found by itself if left out."
    ),
]
TrustedHops = Annotated[
    int | None,
    typer.Option(min=1, help="Proxies of your own that add to X-Forwarded-For; the first address if left out."),
]


def stop_signal(*, with_owner: bool = False) -> threading.Event:
    """An event that is set by Ctrl-C, by SIGTERM and, ``with_owner``, when standard input is closed."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not sys.stdin: its lock would be held when Python ends
            pass
        stop.set()

    if with_owner:
        threading.Thread(target=wait, name="owner", daemon=True).start()
    return stop


def app_of(main: Callable[..., Any]) -> typer.Typer:
    """The command line of ``main``; the reference of the documentation is written from it, too."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    return app


def run(main: Callable[..., Any], arguments: list[str] | None = None) -> None:
    """Run ``main`` as a command and leave the process: 0 done, 1 failed, 2 bad usage or configuration.

    A :class:`BehaviorError` is printed as its sentence, without a trace.
    """
    try:
        app_of(main)(args=arguments, standalone_mode=True)
    except BehaviorError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]Error[/] {type(error).__name__}: ", end="")
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
