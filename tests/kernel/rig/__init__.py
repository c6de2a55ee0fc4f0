# SPDX-License-Identifier: Apache-2.0
"""Boots stock Debian kernels under emulation with the module in them, and looks at the disks from
outside."""
