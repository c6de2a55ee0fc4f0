# SPDX-License-Identifier: Apache-2.0
"""What the tests from outside share: a lab with servers, images and devices, and the wire."""
