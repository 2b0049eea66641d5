"""Errors and exit codes that every command shares, and the problem a check returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Exit(IntEnum):
    """What a command's exit code says."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3


@dataclass(frozen=True, kw_only=True, order=True)
class Problem:
    """One thing wrong with an input, where it stands, and what to do about it.

    `line` is 1-based and 0 when the file as a whole is meant; `path` is the place inside the document, such as
    `models[0].slos[1].objective`.
    """

    file: str
    line: int = 0
    path: str = ""
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        where = f" {self.path}:" if self.path else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}:{where} {self.message}{remedy}"


OUTPUT_CLOSED = "standard output was closed before all was written"
"""What is said when whoever reads our output, such as `head`, has seen enough."""


class MidwatchError(Exception):
    """Something the caller cannot carry on from; the command line prints it as one line and exits with `exit`."""

    exit: Exit = Exit.USAGE


class InvalidInputError(MidwatchError):
    """Input with one or more problems, all of them named."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def at(cls, file: Path | str, message: str, *, remedy: str = "", line: int = 0) -> InvalidInputError:
        """Build the error of a single problem with a file."""
        return cls([Problem(file=str(file), line=line, message=message, remedy=remedy)])


class MissingProgramError(MidwatchError):
    """A program that has to be on PATH is not there."""

    def __init__(self, program: str, remedy: str) -> None:
        self.program = program
        super().__init__(f"{program} was not found on PATH; {remedy}")
