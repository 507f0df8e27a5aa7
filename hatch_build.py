"""Builds the C parts with the package: the DNS server's fast path. Without a compiler the package is pure Python.

A shared library loaded by ctypes, not an extension module: one build serves every Python, and no headers are needed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/fairway/io/dns")
SOURCES = ("fast_table.c", "fast_kept.c", "fast_answer.c", "fast_serve.c")
FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fstack-protector-strong", "-pthread")


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles before the files of the package are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        root = Path(self.root)
        target = root / FOLDER / "libfast.so"
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if self.target_name != "wheel" or compiler is None or not sys.platform.startswith("linux"):
            return
        sources = [str(root / FOLDER / name) for name in SOURCES]
        subprocess.run([compiler, *FLAGS, "-o", str(target), *sources], check=True)
        build_data["artifacts"].append(str(target.relative_to(root)))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
