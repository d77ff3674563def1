# SPDX-License-Identifier: GPL-2.0
# Sphinx.  The kernel-doc directive is the kernel's own, from its source (KSRC).
import os
import sys

ksrc = os.environ["KSRC"]
sys.path.insert(0, os.path.join(ksrc, "Documentation/sphinx"))

project = "vhost-inflight"
copyright = "the vhost-inflight developers"
master_doc = "index"
extensions = ["kerneldoc"]
exclude_patterns = ["build"]
primary_domain = "c"
highlight_language = "none"

kerneldoc_bin = os.path.join(ksrc, "scripts/kernel-doc")
kerneldoc_srctree = os.environ.get("srctree", "..")
kerneldoc_verbosity = 1

# Types of the kernel and of C in prototypes are not described here.
c_id_attributes = ["__user", "__iomem"]
c_allow_pre_v3 = True

html_theme = "alabaster"
