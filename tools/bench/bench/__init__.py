# SPDX-License-Identifier: Apache-2.0
"""The comparison of Towline with its peers; docs/performance.md holds what it found."""
