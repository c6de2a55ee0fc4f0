# SPDX-License-Identifier: Apache-2.0
"""LVM in a guest, where no udev makes its nodes."""

CONFIG = """
activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 0 monitoring = 0 }
devices { obtain_device_list_from_udev = 0 external_device_info_source = "none" use_devicesfile = 0 }
global { thin_check_executable = "" }
"""
FILES = {"etc/lvm/lvm.conf": CONFIG}
DATA_START = 1 << 20  # of a physical volume
