#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An encrypted vault: with its key all is as it is without encryption, and an independent reader
agrees; without it nothing is told, and what is changed is found."""

import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path

from lib.daemon import Daemon
from lib.keyed import VARIABLES, encrypted, key_file, locked, secret_file, stored
from lib.lab import KIB, MIB, binary, equal, wait_for, write_at
from lib.mounted import Mounted
from lib.runner import main
from lib.vault import Vault, damaged_and_repaired, text_and_noise, towline

SIZE = MIB + 12345


def test_all_that_reads_and_writes_takes_the_key(lab):
    vault = encrypted(lab, key_file(lab))
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    changes = lab.change(source, 3)
    vault.list(source, changes)
    lab.change(source, 2)
    assert vault.sync(source, "--verify")["mode"] == "scan"
    vault.check()
    scrubbed = vault.scrub()
    assert scrubbed["sound"] and not scrubbed["without_key"], scrubbed
    first, second, latest = (f"{vault.url}@{each}" for each in vault.points())
    assert towline("point", "diff", first, second).stdout
    assert json.loads(towline("point", "show", latest, "--json").stdout)["sequence"] == 3
    towline("verify", source, latest, "--state-dir", lab.state)
    towline("verify", source, first, "--state-dir", lab.state, exit=6)
    out = lab.dir / "out"
    towline("restore", latest, out, "--state-dir", lab.state)
    equal(source, out)
    for form in ("raw", "qcow2"):
        towline("export", latest, lab.dir / f"exported.{form}", "--format", form, "--state-dir",
                lab.state)
    equal(source, lab.dir / "exported.raw")
    mounted = Mounted(lab, vault, "latest")
    assert mounted.file.read_bytes() == source.read_bytes()
    mounted.unmount()
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    assert len(vault.points()) == 1
    vault.check()
    assert vault.scrub()["garbage_bytes"] == 0
    info = json.loads(towline("vault", "info", vault.dir, "--json").stdout)
    assert info["encrypted"] and [each["name"] for each in info["names"]] == ["disk"], info


def test_who_has_no_key_sees_sizes_and_times(lab):
    vault = encrypted(lab, key_file(lab))
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source, "--compress", 0)
    identity = towline("point", "show", f"{vault.url}@latest", "--json").stdout
    source_uuid = json.loads(identity)["volumes"][0]["source"]
    for path, contents in stored(vault).items():
        assert "disk" not in str(path), path
        for text in (b"some words of a file", source.read_bytes()[-4096:-4000], b"sealed",
                     source_uuid.encode(), bytes.fromhex(source_uuid.replace("-", ""))):
            assert text not in contents, (path, text)
    locked(["point", "list", vault.url])
    locked(["sync", source, vault.url, "--state-dir", lab.state])
    locked(["vault", "prune", vault.dir])
    other = key_file(lab, "other")
    locked(["point", "list", vault.url, "--key-file", other], says="no key or passphrase")
    open_to_all = key_file(lab, "open-to-all")
    open_to_all.chmod(0o644)
    locked(["point", "list", vault.url, "--key-file", open_to_all], says="chmod 600")
    info = json.loads(locked(["vault", "info", vault.dir, "--json"], exit=0, says="locked").stdout)
    assert info["locked"] and info["names_count"] == 1 and "names" not in info, info
    report = json.loads(locked(["vault", "scrub", vault.dir, "--json"], exit=0, says="sound").stdout)
    assert report["sound"] and report["without_key"] and report["points"] == 0, report
    for kind in ("segment", "index", "log"):
        victim = max((vault.dir / kind).rglob("*"), key=lambda each: each.stat().st_size
                     if each.is_file() else 0)
        at = lab.random.randrange(victim.stat().st_size)
        byte = victim.read_bytes()[at]
        write_at(victim, at, bytes([byte ^ 4]))
        damaged = json.loads(locked(["vault", "scrub", vault.dir, "--json"], exit=6,
                                    says="fails its check").stdout)
        assert [each["object"] for each in damaged["findings"]] == [
            str(victim.relative_to(vault.dir))], damaged
        assert not vault.scrub(exit=6)["sound"]
        write_at(victim, at, bytes([byte]))
    assert vault.scrub()["sound"]
    vault.check()


def test_what_is_damaged_comes_back_from_a_newer_run(lab):
    damaged_and_repaired(lab, encrypted(lab, key_file(lab, "key")), lambda size: [
        (size // 2, 130 * KIB), (size - 80 * KIB, 1)])


def test_keys_are_changed_and_data_is_not(lab):
    first, second = key_file(lab, "first"), key_file(lab, "second")
    words = secret_file(lab, "words", b"a horse and a battery\nanother line\n")
    vault = encrypted(lab, first)
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    before = {path: each for path, each in stored(vault).items() if path.parts[0] != "config"}
    (only,) = json.loads(towline("vault", "key", "list", vault.dir, "--json").stdout)["keys"]
    assert only["kind"] == "key-file" and set(only) == {"id", "kind", "created_at"}, only
    towline("vault", "key", "remove", vault.dir, only["id"], exit=3)
    towline("vault", "key", "remove", vault.dir, "ffff0000", exit=2)
    towline("vault", "key", "add", vault.dir, "--new-passphrase-file", words)
    towline("vault", "key", "change", vault.dir, "--key-file", first, "--new-key-file", second)
    locked(["point", "list", vault.url, "--key-file", first], says="no key or passphrase")
    os.environ["TOWLINE_KEY_FILE"] = str(second)
    vault.check()
    del os.environ["TOWLINE_KEY_FILE"]
    os.environ["TOWLINE_PASSPHRASE_FILE"] = str(words)
    vault.check()
    (gone,) = [each["id"]
               for each in json.loads(towline("vault", "key", "list", vault.dir, "--json").stdout)["keys"]
               if each["kind"] == "key-file"]
    towline("vault", "key", "remove", vault.dir, gone)
    locked(["point", "list", vault.url, "--key-file", second], says="no key or passphrase")
    locked(["point", "list", vault.url, "--passphrase-file",
            secret_file(lab, "wrong", b"a mule\n")], says="no key or passphrase")
    after = {path: each for path, each in stored(vault).items() if path.parts[0] != "config"}
    assert after == before
    vault.sync(source)
    vault.check()
    # Of nothing that is not encrypted.
    plain = Vault.__new__(Vault)
    plain.dir = lab.dir / "plain"
    towline("vault", "init", plain.dir)
    towline("vault", "key", "list", plain.dir, exit=3)
    locked(["point", "list", f"vault:{plain.dir}/disk", "--key-file", first], says="not encrypted")
    towline("vault", "init", lab.dir / "other", "--key-file", first, exit=2)
    lab.refused(source, lab.dir / "copy", "--key-file", first, says="nothing would be encrypted")


def ask(words, answers):
    """Runs the command on a terminal of its own, and answers its questions; what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        for each in VARIABLES:
            os.environ.pop(each, None)
        os.execv(binary(), [binary(), *map(str, words)])
    shown, answered = b"", 0
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            some = os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        if not some:
            break
        shown += some
        if answered < len(answers) and shown.endswith(b": "):
            os.write(terminal, answers[answered] + b"\r")
            answered += 1
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_a_passphrase_is_asked_for_and_not_shown(lab):
    folder = lab.dir / "vault"
    made = ["vault", "init", folder, "--encrypt"]
    exit, shown = ask(made, [b"open sesame", b"open barley"])
    assert exit == 3 and b"differ" in shown and not (folder / "config").exists(), shown
    exit, shown = ask(made, [b"open barlex\x7fy", b"open barley"])
    assert exit == 0 and b"barle" not in shown, shown
    exit, shown = ask(["vault", "info", folder], [b"open sesame"])
    assert exit == 3 and b"no passphrase of" in shown and b"sesame" not in shown, shown
    exit, shown = ask(["vault", "info", folder], [b"open barley"])
    assert exit == 0 and b"encrypted" in shown and b"barley" not in shown, shown
    exit, _ = ask(["vault", "info", folder], [b"\x03"])
    assert exit == 10


def test_through_a_daemon_that_has_the_key(lab):
    key = key_file(lab)
    vault = encrypted(lab, key)
    source = text_and_noise(lab, "source", SIZE)
    server = lab.server(words=["--vault", vault.dir, "--key-file", key])
    url = server.url("vault:disk")
    vault.sync(source, url=url)
    vault.list(source, lab.change(source, 3), url)
    vault.check()
    # Hosts that have the key themselves are served as well.
    lab.change(source, 2)
    vault.sync(source, "--key-file", key, url=url)
    vault.check()


def test_a_daemon_without_the_key_keeps_what_it_cannot_read(lab):
    key = key_file(lab)
    vault = encrypted(lab, key)
    del os.environ["TOWLINE_KEY_FILE"]
    source = text_and_noise(lab, "source", SIZE)
    server = lab.server(words=["--vault", vault.dir])
    url = server.url("vault:disk")
    vault.sync(source, "--key-file", key, url=url)
    changes = lab.change(source, 3)
    report = lab.extents(source, url, changes, "--key-file", key)
    vault.known[report["base"]["point"]] = source.read_bytes()
    lab.change(source, 2)
    vault.sync(source, "--scan", "--verify", "--key-file", key, url=url)
    # Without the key, and with another one, nothing is written.
    before = stored(vault)
    lab.refused(source, url, says="encrypted")
    lab.refused(source, url, "--key-file", key_file(lab, "other"), says="no key or passphrase")
    assert stored(vault) == before
    for path, contents in before.items():
        assert b"some words of a file" not in contents and "disk" not in str(path), path
    # Cut off in the middle, by the end of the daemon.
    source.write_bytes(lab.content(SIZE))
    run = lab.start_sync(source, url, "--full", "--rate", 1, "--compress", 0, "--key-file", key)
    wait_for(lambda: len(list((vault.dir / "segment").rglob("*-00000000-*"))) > 3, 60,
             "a segment of the fourth run")
    server.kill()
    assert lab.finish(run).exit != 0
    server.start()
    report = vault.sync(source, "--resume", "--key-file", key, url=url)
    assert report["resumed"], report
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    assert len(vault.points()) == 4
    vault.check()
    assert vault.scrub()["sound"]
    towline("vault", "prune", vault.dir, "--keep-last", 1)
    vault.check()
    # A plain vault's objects are given to nobody.
    plain = lab.dir / "plain"
    towline("vault", "init", plain)
    lab.refused(source, lab.server(words=["--vault", plain]).url("vault:disk"), "--key-file", key,
                says="keeps no encrypted vault")


def test_a_job_has_its_key_by_the_configuration(lab):
    key, words = key_file(lab), secret_file(lab, "words", b"a horse and a battery\n")
    vault = encrypted(lab, key)
    towline("vault", "key", "add", vault.dir, "--new-passphrase-file", words)
    del os.environ["TOWLINE_KEY_FILE"]
    source = text_and_noise(lab, "source", SIZE)
    server = lab.server(words=["--vault", vault.dir])

    def daemon(name, secrets):
        config = lab.dir / f"{name}.toml"
        config.write_text(f"[vault]\n{secrets}\n")
        return Daemon(lab, ["--config", config], name=name).start()

    def run(of, target):
        of.put("db", source, target, {"manual": True}, overwrite=True)
        ended = of.ended(of.start_run("db")["id"])
        if ended["state"] == "Completed":
            vault.known[ended["point"]] = source.read_bytes()
        return ended

    # Each is tried; here, and at a server that has none.
    keyed = daemon("keyed", f'key_files = ["{key_file(lab, "other")}", "{key}"]')
    first = run(keyed, vault.url)
    assert first["state"] == "Completed", first
    assert not keyed.good("POST", "/v1/jobs/db/preflight")["stops"]
    lab.change(source, 2)
    remote = run(keyed, server.url("vault:disk"))
    assert remote["state"] == "Completed", remote
    worded = daemon("worded", f'passphrase_files = ["{words}"]')
    lab.change(source, 2)
    assert run(worded, vault.url)["state"] == "Completed"
    for path in ("/v1/jobs/db", "/v1/runs", "/v1/meta", "/v1/events?since=0", "/v1/audit"):
        assert str(key) not in keyed.send("GET", path).text, path
    # Without one nothing is written, and the preflight says it before.
    before = stored(vault)
    for name, secrets in [("keyless", ""), ("wrong", f'key_files = ["{lab.dir / "other"}"]')]:
        without = daemon(name, secrets)
        failed = run(without, vault.url)
        assert failed["state"] == "Failed" and not failed["error"]["retriable"], failed
        assert ("encrypted" if name == "keyless" else "no key or passphrase") in \
            failed["error"]["message"], failed
        report = without.good("POST", "/v1/jobs/db/preflight")
        assert report["stops"] and "target" in [each["code"] for each in report["findings"]
                                                if each["severity"] == "Critical"], report
        assert run(without, server.url("vault:disk"))["state"] == "Failed"
    assert stored(vault) == before
    os.environ["TOWLINE_KEY_FILE"] = str(key)
    assert len(vault.points()) == 3
    vault.check()


def test_a_run_that_was_cut_off_goes_on(lab):
    vault = encrypted(lab, key_file(lab))
    source = text_and_noise(lab, "source", SIZE)
    vault.sync(source)
    for each in range(0, SIZE - 64 * KIB, 64 * KIB):
        write_at(source, each + 10, lab.content(50))
    run = lab.start_sync(source, vault.url, "--full", "--rate", 1, "--compress", 0)
    wait_for(lambda: list((vault.dir / "segment").rglob("*-00000000-*"))[1:], 60,
             "a segment of the second run")
    run.kill()
    lab.finish(run)
    assert len(vault.points()) == 1
    report = vault.sync(source, "--resume", "--verify")
    assert report["resumed"], report
    vault.check()


def test_no_key_is_in_words_or_environment_of_a_run(lab):
    vault = encrypted(lab, key_file(lab))
    key = Path(os.environ["TOWLINE_KEY_FILE"]).read_bytes()
    source = text_and_noise(lab, "source", SIZE)
    run = lab.start_sync(source, vault.url, "--rate", 1, "--compress", 0, "--key-file",
                         os.environ["TOWLINE_KEY_FILE"])
    wait_for(lambda: any(each.is_file() for each in (vault.dir / "log").rglob("*")), 60, "its begin")
    for each in ("cmdline", "environ"):
        shown = Path(f"/proc/{run.pid}/{each}").read_bytes()
        assert shown and key not in shown and key.hex().encode() not in shown
    run.kill()
    lab.finish(run)


if __name__ == "__main__":
    main(globals())
