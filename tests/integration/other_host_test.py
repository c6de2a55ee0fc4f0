#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon of another host, by ssh: a real sshd on the loopback, with keys of the test's own."""

import getpass
import os
import socket
import subprocess

from lib.daemon import Daemon
from lib.lab import MIB, Skip, binary, wait_for
from lib.runner import main

SSHD = "/usr/sbin/sshd"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Host:
    """An sshd of this user's, and an ssh in front of the real one that trusts it."""

    def __init__(self, lab):
        if not os.path.exists(SSHD):
            raise Skip("needs sshd")
        self.dir, self.port = lab.dir / "ssh", free_port()
        self.dir.mkdir()
        for key in ["host", "user"]:
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.dir / key],
                           check=True)
        (self.dir / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.dir}/host\nPidFile none\n"
            f"AuthorizedKeysFile {self.dir}/user.pub\nStrictModes no\nUsePAM no\n"
            f"PermitRootLogin yes\nSetEnv PATH={binary().rpartition('/')[0]}:/usr/bin:/bin\n")
        (self.dir / "ssh_config").write_text(
            f"Host *\nIdentityFile {self.dir}/user\nIdentitiesOnly yes\n"
            f"StrictHostKeyChecking no\nUserKnownHostsFile {self.dir}/known\nLogLevel ERROR\n")
        front = self.dir / "bin" / "ssh"
        front.parent.mkdir()
        front.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self.dir}/ssh_config "$@"\n')
        front.chmod(0o755)
        os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(self.dir / "log", "w")
        self.sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", self.dir / "sshd_config"],
                                     stderr=self.log)
        lab.at_end(self.sshd.kill)
        wait_for(self.listens, 20, "sshd")
        self.url = f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def towline(self, *words, **env):
        path = f"{self.dir / 'bin'}:{os.environ['PATH']}"
        return subprocess.run([binary(), *map(str, words)], text=True, capture_output=True,
                              timeout=60, env={**os.environ, "PATH": path, **env})


def test_the_daemon_of_another_host(lab):
    if os.getuid() != 0:
        raise Skip("needs root for sshd")
    host, daemon = Host(lab), Daemon(lab).start()
    there = ["--host", host.url, "--socket", daemon.socket]
    made = host.towline("job", "create", "db", "--volume", lab.image("source", MIB), "--target",
                        lab.dir / "replica", *there)
    assert made.returncode == 0 and "db: changed" in made.stdout, made
    ran = host.towline("run", "start", "db", "--wait", *there)
    assert ran.returncode == 0 and "Completed" in ran.stdout, ran
    status = host.towline("status", "--socket", daemon.socket, TOWLINE_HOST=host.url)
    assert status.returncode == 0 and "db" in status.stdout, status
    # What is wrong at the far end has the exit codes that it has here.
    gone = host.towline("job", "show", "nobody", *there)
    assert gone.returncode == 11, gone
    silent = host.towline("status", "--host", host.url, "--socket", lab.dir / "it's not there")
    assert silent.returncode == 4 and "is towlined running" in silent.stderr, silent


def test_a_host_is_no_option_of_ssh(lab):
    for url in ["ssh://-oProxyCommand=id", "ssh://", "host", "ssh://a b", "ssh://host:x",
                "ssh://host/path"]:
        refused = subprocess.run([binary(), "status", "--host", url], text=True,
                                 capture_output=True, timeout=60)
        assert refused.returncode == 2 and "ssh://USER@HOST" in refused.stderr, (url, refused)


main(globals())
