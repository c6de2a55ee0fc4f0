#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints "STATUS<tab>NAME<tab>REASON" for each case of a GoogleTest program that ran.

usage: gtest_results.py PREFIX, where PREFIX.json, PREFIX.log and PREFIX.status are what it left.
A program that died before its end has no JSON: its log says how far it came, and the case that
it died in failed.
"""
import json
import os
import re
import sys

MARK = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED) +\] ([^ ,]+)")


def one_line(text):
    return " ".join(text.split())


def skip_reasons(log_lines):
    """The first line that a skipped case printed beside gtest's own place."""
    reasons, current, said = {}, None, []
    for line in log_lines:
        mark = MARK.match(line)
        if mark and mark[1] == "RUN":
            current, said = mark[2], []
        elif mark and mark[1] == "SKIPPED" and mark[2] == current:
            reasons[current] = one_line(" ".join(said))
        elif not re.match(r"^\S+:\d+: Skipped$", line.strip()):
            said.append(line)
    return reasons


def from_json(path, reasons):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    for suite in report["testsuites"]:
        for case in suite["testsuite"]:
            name = f"{suite['name']}.{case['name']}"
            if case.get("failures"):
                yield "fail", name, one_line(case["failures"][0]["failure"])[:200]
            elif case.get("result") == "SKIPPED":
                yield "skip", name, reasons.get(name, "")
            elif case.get("status") == "NOTRUN":
                yield "skip", name, "disabled"
            else:
                yield "pass", name, ""


def from_log(log_lines, reasons, exit_status):
    running = None
    for line in log_lines:
        mark = MARK.match(line)
        if not mark:
            continue
        word, name = mark.groups()
        if word == "RUN":
            running = name
        elif name == running:
            running = None
            status = {"OK": "pass", "FAILED": "fail", "SKIPPED": "skip"}[word]
            yield status, name, reasons.get(name, "")
    how = "ran out of time" if exit_status in (124, 137) else f"ended with status {exit_status}"
    yield "fail", running or "(program)", f"the program {how}"


def main():
    prefix = sys.argv[1]
    with open(prefix + ".log", encoding="utf-8", errors="replace") as file:
        log_lines = file.read().splitlines()
    with open(prefix + ".status", encoding="utf-8") as file:
        exit_status = int(file.read())
    reasons = skip_reasons(log_lines)

    if os.path.exists(prefix + ".json"):
        results = list(from_json(prefix + ".json", reasons))
        # A sanitizer that complains at the very end fails no case, but the program.
        if exit_status != 0 and all(status != "fail" for status, _, _ in results):
            results.append(("fail", "(program)", f"ended with status {exit_status}"))
    else:
        results = list(from_log(log_lines, reasons, exit_status))
    for result in results:
        print("\t".join(result))


if __name__ == "__main__":
    main()
