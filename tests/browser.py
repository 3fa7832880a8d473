"""Puts Debian's chromium in place for the browser tests where that is possible; they are skipped where it is not."""

import os
import shutil
import subprocess
import sys

if shutil.which("chromium"):
    sys.exit(0)
if os.name != "posix" or os.geteuid() != 0 or not shutil.which("apt-get"):
    print("No chromium, and no way to install it here without root: the browser tests will be skipped.")
    sys.exit(0)
print("Installing chromium for the browser tests.")
quiet = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
    "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
}
for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]):
    try:
        subprocess.run(command, timeout=300, check=True, **quiet)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"'{' '.join(command)}' failed ({error}): the browser tests will be skipped.")
        sys.exit(0)
