# SPDX-License-Identifier: Apache-2.0
"""Keys of encrypted vaults, who has them, and who has not."""

import os
import subprocess

from .lab import binary
from .vault import Vault

VARIABLES = ("TOWLINE_KEY_FILE", "TOWLINE_PASSPHRASE_FILE")


def secret_file(lab, name, contents):
    path = lab.dir / name
    path.write_bytes(contents)
    path.chmod(0o600)
    return path


def key_file(lab, name="key"):
    return secret_file(lab, name, lab.random.randbytes(32))


def encrypted(lab, key, **also):
    """A vault whose key everything that is started has in its environment, for the test's time."""
    before = {each: os.environ.pop(each, None) for each in VARIABLES}
    lab.at_end(os.environ.update, {name: each for name, each in before.items() if each})
    for each in VARIABLES:
        lab.at_end(os.environ.pop, each, None)
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    return Vault(lab, init=["--encrypt", "--key-file", key], **also)


def without_key(function, *words, **also):
    """Calls the function; what it starts has no key in its environment."""
    before = {each: os.environ.pop(each) for each in VARIABLES if each in os.environ}
    try:
        return function(*words, **also)
    finally:
        os.environ.update(before)


def locked(words, exit=3, says="encrypted"):
    """What the command says to who has no key."""
    done = without_key(subprocess.run, [binary(), *map(str, words)], text=True,
                       capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == exit and says in done.stdout + done.stderr, (words, done)
    return done


def stored(vault):
    return {each.relative_to(vault.dir): each.read_bytes()
            for each in vault.dir.rglob("*") if each.is_file() and "locks" not in each.parts}
