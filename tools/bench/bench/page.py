# SPDX-License-Identifier: Apache-2.0
"""Tables in a page of docs/, between two marks, and the line above them that says when, where and by
which command they were made."""

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path


def conditions(command, places):
    today = datetime.date.today().isoformat()
    return (f"{today}, Linux {platform.release()}, {os.cpu_count()} cores, "
            f"`{_again(command, places)}`")


def _again(command, places):
    """The command again, without the words that only say where things lie on this machine."""
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word in places:
            next(words, None)
        elif word.partition("=")[0] not in places:
            kept.append(word)
    return shlex.join([command, *kept])


def _marks(mark):
    return f"<!-- {mark} -->", f"<!-- /{mark} -->"


def require_place(parser, path, mark):
    """Said before hours are spent on what then could not be put anywhere."""
    if path is None:
        return
    begin, end = _marks(mark)
    text = Path(path).read_text() if Path(path).is_file() else ""
    if not 0 <= text.find(begin) < text.find(end):
        parser.error(f"{path} has no place for the tables ({begin})")


def put(path, mark, tables):
    begin, end = _marks(mark)
    before, _, rest = Path(path).read_text().partition(begin)
    _, _, after = rest.partition(end)
    Path(path).write_text(f"{before}{begin}\n{tables}{end}{after}")
