"""What a verb of the command line says, and how it goes wrong.

A verb gives back a `Reply`: one JSON document, and a way to show the same to a person. `spoken` prints one of the two on stdout,
everything else (progress, warnings of libraries, errors) goes to stderr. Exit codes: 0 done, 2 the caller's mistake, 1 ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..datasets.errors import InputError, SilicastError

DEBUG = "SILICAST_DEBUG"
#: columns of output that does not go to a terminal: wide enough that no table is cut
WIDE = 200


@dataclass(frozen=True)
class Reply:
    """`document` for `--json`; `show` prints the same to a person on a rich console."""

    document: Any
    show: Callable[[Any], None]


def spoken(verb: Callable[..., Reply]) -> Callable[..., None]:
    """The command of a verb that takes `as_json`: prints its reply, turns errors into one line on stderr and an exit code."""

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the reply alone
                reply = verb(**given)
            if given.get("as_json"):
                text = json.dumps(plain(reply.document), indent=1, allow_nan=False)
                sys.stdout.write(text + "\n")
            else:
                reply.show(console())
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output went away (`| head`): nothing to say, and no one to say it to
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            say("silicast: interrupted")
            raise SystemExit(130) from None
        except Exception as error:
            raise SystemExit(fail(error)) from None

    return command


def fail(error: Exception) -> int:
    """Says what went wrong in one line on stderr and gives back the exit code; with SILICAST_DEBUG=1 the traceback comes first."""
    if os.environ.get(DEBUG, "") not in ("", "0"):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, SilicastError):
        say(f"silicast: error: {one_line(error)}")
        return 2 if isinstance(error, InputError) else 1
    say(f"silicast: internal error: {type(error).__name__}: {one_line(error)} (a defect of silicast; {DEBUG}=1 shows where)")
    return 1


def misused(error: Exception) -> int:
    """Says in one line what is wrong with the arguments (an error of the argument parser) and gives back the exit code; re-raises any other."""
    if type(error).__name__ == "NoArgsIsHelpError":  # a group called without a verb: its help is the answer
        error.show()  # type: ignore[attr-defined]
        return 2
    if type(error).__name__ == "Abort":
        say("silicast: interrupted")
        return 130
    if not hasattr(error, "format_message"):
        raise error
    context = getattr(error, "ctx", None)
    more = f"; `{context.command_path} --help` says how" if context is not None else ""
    say(f"silicast: error: {one_line(error.format_message()).rstrip('.')}{more}")
    return 2


def one_line(error: BaseException | str) -> str:
    """A message on one line, without characters a terminal cannot print."""
    return " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode("utf-8")


def say(text: str) -> None:
    """One line of progress or complaint on stderr."""
    print(text, file=sys.stderr, flush=True)


def console() -> Any:
    """A rich console on stdout; wide where no terminal sets a width, so that piped tables are not cut."""
    from rich.console import Console

    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else WIDE)


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Any:
    """A plain rich table; columns named in `right` hold figures. No cell is ever cut."""
    from rich import box
    from rich.table import Table

    out = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for name in columns:
        out.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return out


def plain(value: Any) -> Any:
    """`value` as JSON knows it: NumPy and pandas values, dataclasses, paths; what is not finite becomes null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "to_json") and not isinstance(value, type) and hasattr(type(value), "__dataclass_fields__"):
        return plain(value.to_json())
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in type(value).__dataclass_fields__}
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return plain(value.to_dict("records"))
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return plain(value.tolist())
    return str(value)
