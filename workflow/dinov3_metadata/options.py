"""The options of the commands, and what is said of wrong ones."""

import argparse
import os
import re
import sys
from dataclasses import MISSING, fields
from typing import NoReturn

from .addresses import SPLITS
from .errors import did_you_mean, printable
from .settings import Settings

NOT_CHECKED = 2
"""The exit code of a wrong command line, of a ``check`` that could not be made, and of any command
whose output cannot be written."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the nearest option."""

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Return the options of a command line, or exit with what is wrong with it."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in arguments:
            option = word.partition("=")[0]
            is_option = re.match("-[-a-zA-Z]", option)
            if is_option and not any(name.startswith(option) for name in known):
                self.error(f"there is no option {option}.{did_you_mean(option, known, str)}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the command line, and exit."""
        message = message.replace("unrecognized arguments: ", "there is no use for ")
        refuse(f"{message}{'' if message[-1] in '.?' else '.'} See {self.prog} --help.")


def refuse(message: str) -> NoReturn:
    """Print what is wrong with the command line or the output, and exit."""
    print(f"Error: {printable(message)}", file=sys.stderr)
    sys.exit(NOT_CHECKED)


def settings_parser(command: str, description: str) -> Parser:
    """Return a parser with one option for each field of ``Settings``.

    The parser has no defaults: if an option is missing, the default of ``Settings`` applies.
    """
    parser = Parser(
        f"dinov3-metadata {command}",
        description=description,
        argument_default=argparse.SUPPRESS,
    )
    for setting in fields(Settings):
        schema, text = setting.metadata["schema"], setting.metadata["short"]
        text = re.sub(r"\{(\w+): (\w+)\}", r"\1=\2", text)  # not as config.yaml has it
        text = re.sub(r"\[([^]]+)\]", lambda some: some[1].replace(",", ""), text)
        option = "--" + setting.name.replace("_", "-")
        required = setting.default is MISSING
        kind = schema.get("type")
        if isinstance(kind, list):
            metavar = "FILE" if "object" in kind else "FILE or ID"
            parser.add_argument(option, nargs="+", metavar=metavar, help=text)
        elif kind == "array":
            choices = schema["items"]["enum"]
            parser.add_argument(option, nargs="+", choices=choices, metavar="X", help=text)
        elif kind == "object":
            parser.add_argument(option, nargs="+", metavar="SPLIT=FOLDER", help=text)
        elif kind == "boolean" or True in schema.get("enum", ()):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        else:
            number = {"integer": int, "number": float}.get(str(kind), str)
            choices = setting.metadata["choices"]
            parser.add_argument(option, type=number, choices=choices, required=required, help=text)
    return parser


def split_files(words: list[str]) -> str | dict[str, str]:
    """Return the setting ``select_images`` from a word, or from words like ``TRAIN=list.txt``."""
    pairs = [word.partition("=") for word in words]
    if len(words) == 1 and (not pairs[0][1] or "/" in pairs[0][0] or os.path.exists(words[0])):
        return words[0]
    wrong = [word for word, pair in zip(words, pairs, strict=True) if pair[0] not in SPLITS]
    if wrong:
        refuse(f"--select-images: {wrong[0]!r} is not a split, an equals sign and a file.")
    files = {split: file for split, _, file in pairs}
    if len(files) < len(pairs):
        refuse("--select-images: a split has one list. Put the lists together in one file.")
    return files


def split_folders(words: list[str]) -> dict[str, list[str]]:
    """Return the setting ``folders`` from words such as ``VAL=valid``."""
    folders: dict[str, list[str]] = {}
    for word in words:
        split, equals, folder = word.partition("=")
        if not equals:
            sys.exit(f"Error: --folders: {word!r} is not a split, an equals sign and a folder.")
        folders.setdefault(split, []).append(folder)
    return folders
