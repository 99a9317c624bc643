"""The error of everything that is wrong with a file of profiles."""

from __future__ import annotations


class ConfigError(ValueError):
    """A file of profiles cannot be used.

    Attributes:
        problem: what is wrong, by the key's name, and what to do.
        file: the file's path.
        line: counted from 1; None where the file as a whole is meant.
        column: counted from 1.
    """

    def __init__(self, problem: str, file: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(problem, file, line, column)  # not the message: unpickling calls cls(*args)
        self.problem, self.file, self.line, self.column = problem, file, line, column

    def __str__(self) -> str:
        place = [self.file, *(str(number) for number in (self.line, self.column) if number is not None)]
        return f"{':'.join(place)}: {self.problem}"
