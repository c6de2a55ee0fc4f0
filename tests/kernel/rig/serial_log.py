# SPDX-License-Identifier: Apache-2.0
"""What the guest's kernel may not say. Any of these fails the test, whatever its script made of it."""

import re

COMPLAINTS = re.compile("|".join([
    r"\bBUG\b", r"\bWARNING:", r"\bOops\b", r"cut here", r"Call Trace:", r"Kernel panic",
    r"general protection", r"unable to handle", r"invalid opcode", r"divide error",
    r"soft lockup", r"hard LOCKUP", r"\brcu.*stall", r"blocked for more than", r"INFO: task",
    r"INFO: lockdep", r"possible (circular|recursive) locking", r"scheduling while atomic",
    r"sleeping function called", r"KFENCE:", r"KASAN:", r"KCSAN:", r"UBSAN:", r"kmemleak",
    r"unreferenced object", r"Poison overwritten", r"Redzone", r"Objects remaining", r"Slab .*Err",
    r"memory corruption", r"page_poison", r"refcount_t:", r"list_(add|del) corruption",
    r"Out of memory", r"oom-kill", r"page allocation failure", r"unregister_netdevice: waiting",
    r"VFS: Busy inodes", r"leaked", r"disagrees about version", r"Unknown symbol",
]))

# The kernel's own, at every boot of a stock kernel under emulation.
HARMLESS = re.compile("|".join([
    r"debug_?page_?alloc", r"mem auto-init", r"KFENCE: initialized", r"kfence: initialized",
]))


def complaints(log):
    """The lines that fail a test, with what they say around the first."""
    lines = log.splitlines()
    found = [number for number, line in enumerate(lines)
             if COMPLAINTS.search(line) and not HARMLESS.search(line)]
    if not found:
        return []
    first = found[0]
    return lines[max(0, first - 3):first + 40]


def exit_status(log):
    """What the script ended with, or None when the guest never got there."""
    found = re.findall(r"@@exit (\d+)@@", log)
    return int(found[-1]) if found else None
