# SPDX-License-Identifier: Apache-2.0
"""Scenes: a disk, a device attached on it, and steps of writing, each an epoch of its own. A scene's
epochs are compared with what reached the disk: step by step with QEMU's trace, and the whole with
the image before and after. Several scenes share a boot."""

import shlex
from dataclasses import dataclass, field

from .changes import Finding, blocks_different, blocks_marked
from .qemu import Disk
from .trace import blocks_of

TRUST_EXACT = 1

# $disk: the scene's disk; $device: what is attached. A step ends with all of it on the disk.
SCENE = """
scene_{name}() {{
    local disk=/dev/disk/{name} device uuid
    {setup}
    device={attach}
    uuid=$(track attach "$device" {block})
    {steps}
    track status "$uuid" >{name}.status
    track detach "$uuid"
    {cleanup}
    keep {name}.status
}}
echo "scene {name}"
scene_{name}
"""
STEP = """
    mark {before}
    {act}
    sync
    mark {after}
    epoch {name}.{number} "$uuid"
    keep {name}.{number}.epoch {name}.{number}.map
"""


@dataclass
class Scene:
    """`start` and `length`: where the attached device lies on its disk, in bytes. `discards`: the
    trace does not know all of what was changed, so more may be marked than was seen to change."""
    name: str
    disk: Disk
    steps: dict
    attach: str = "$disk"
    setup: str = ":"
    cleanup: str = ":"
    block: int = 4096
    start: int = 0
    length: int | None = None
    discards: bool = False
    epochs: list = field(default_factory=list)

    @property
    def bytes(self):
        return self.length or self.disk.path.stat().st_size - self.start


def script_of(scenes, also=""):
    text, mark = "insmod /towline.ko\n", 1
    for scene in scenes:
        steps = ""
        for number, act in enumerate(scene.steps.values()):
            steps += STEP.format(before=mark, after=mark + 1, act=act, name=scene.name, number=number)
            scene.epochs.append((mark, mark + 1))
            mark += 2
        text += SCENE.format(name=scene.name, setup=scene.setup, attach=scene.attach, steps=steps,
                             block=scene.block, cleanup=scene.cleanup)
    return text + also + "rmmod towline\n"


def fields(text):
    """name=number words."""
    return {key: value for key, value in (word.split("=", 1) for word in shlex.split(text))}


def read_epoch(boot, name):
    """What `epoch NAME UUID` in the guest left: the ioctl's answer and the blocks of the map."""
    told = fields(boot.read(f"{name}.epoch").decode())
    told = {key: value if key == "uuid" else int(value) for key, value in told.items()}
    marked = blocks_marked(boot.read(f"{name}.map"), told["blocks"])
    assert len(marked) == told["blocks_changed"], f"{len(marked)} bits in the map of {told}"
    return told, marked


def judge_step(rig, scene, boot, trace, number, name):
    told, marked = read_epoch(boot, f"{scene.name}.{number}")
    assert told["trust"] == TRUST_EXACT and told["block_size"] == scene.block, told
    assert told["device_bytes"] == scene.bytes, told
    before, after = scene.epochs[number]
    written = blocks_of(trace.writes(scene.disk.name, before, after), scene.block, scene.start,
                        scene.bytes)
    finding = Finding(written, marked)
    rig.count(blocks_missed=len(finding.missed))
    assert not finding.missed, f"{scene.name}, {name}: {finding}"
    assert scene.discards or not finding.surplus, f"{scene.name}, {name}: {finding}"
    return marked


def judge(rig, scene, boot, trace, before):
    union = set()
    for number, name in enumerate(scene.steps):
        union |= judge_step(rig, scene, boot, trace, number, name)
    changed = blocks_different(before, scene.disk.path, scene.block, scene.start, scene.bytes)
    finding = Finding(changed, union)
    rig.count(blocks_missed=len(finding.missed))
    assert changed and not finding.missed, f"{scene.name}, the images: {finding}"
    status = fields(boot.read(f"{scene.name}.status").decode())
    rig.count(bios_seen=int(status["writes_seen"]))
    assert int(status["writes_in_flight"]) == 0 and int(status["writes_held"]) == 0, status
    return finding


def play(rig, scenes, *, also="", disks=(), **more):
    """Boots, plays the scenes one after another, and judges each. `also`, with `disks`: what comes
    behind them in the same boot, for the test to judge."""
    befores = [rig.copy(scene.disk) for scene in scenes]
    boot = rig.boot(script_of(scenes, also), [*(scene.disk for scene in scenes), *disks], **more)
    trace = boot.trace
    for scene, before in zip(scenes, befores):
        finding = judge(rig, scene, boot, trace, before)
        print(f"  {rig.kernel.series} {scene.name}: {finding}")
    return boot
