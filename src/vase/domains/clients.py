"""Package clients (npm, apt-get, pip, dpkg-deb) as fetchers: they build nothing and run nothing.

A client runs without a shell, in a temporary folder, with a time-out, and with the part of the
user's environment that ALLOWED names. Of what it leaves there only the archive that the catalogue
names is read, and only if it has the known SHA-256. The one thing that changes the machine is
`apt-get update`, which runs only where the user has set VASE_APT_UPDATE.
"""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vase.domains import idx
from vase.domains.catalogue import Package, checked
from vase.domains.downloads import shortened
from vase.domains.local import is_set
from vase.errors import DataError

UPDATE_VARIABLE = "VASE_APT_UPDATE"
LOG = "client.log"

# What a client may know, by its name. Everything else stays here: keys and tokens, and what would
# have a program load code (PYTHONPATH, LD_PRELOAD, NODE_OPTIONS). In capitals, but also passed in
# small letters, as proxies and npm's settings are often written.
_EVERY_CLIENT = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "TEMP",
        "TMP",
        "SYSTEMROOT",
        "COMSPEC",
        "PATHEXT",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    }
)
# npm and pip look for their own settings at home; apt-get and dpkg-deb have no need of it.
_AT_HOME = frozenset({"HOME", "USERPROFILE", "APPDATA", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"})
_NPM = frozenset(
    {
        "NPM_CONFIG_REGISTRY",
        "NPM_CONFIG_USERCONFIG",
        "NPM_CONFIG_GLOBALCONFIG",
        "NPM_CONFIG_CAFILE",
        "NPM_CONFIG_PROXY",
        "NPM_CONFIG_HTTPS_PROXY",
        "NPM_CONFIG_NOPROXY",
        "NODE_EXTRA_CA_CERTS",
    }
)
_PIP = frozenset({"PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_CERT"})
ALLOWED = {"npm": _EVERY_CLIENT | _AT_HOME | _NPM, "pip": _EVERY_CLIENT | _AT_HOME | _PIP}


def environment(client: str) -> dict[str, str]:
    """The part of this process's environment that a client is given."""
    allowed = ALLOWED.get(client, _EVERY_CLIENT)
    given = {name: value for name, value in os.environ.items() if name.upper() in allowed}
    # A relative entry of PATH would be looked up in the folder that downloads go to.
    path = [entry for entry in given.get("PATH", "").split(os.pathsep) if Path(entry).is_absolute()]
    return given | {"PATH": os.pathsep.join(path), "LC_ALL": "C"}


def fetch(package: Package, folder: Path) -> bytes:
    """Return the package's archive, brought into `folder` by its client and checked."""
    for program in package.needs:
        _program(program)
    command = (*package.command, *package.options)
    trouble = run(command, folder, package.timeout_s)
    if trouble and package.refresh:
        trouble = _once_more(package, command, folder, trouble)
    path = folder / package.archive.name
    if path.is_symlink() or not path.is_file():
        raise DataError(trouble or f"brought no {package.archive.name}")
    try:
        with path.open("rb") as stream:
            content = stream.read(idx.MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from error
    return checked(package.archive, content)


def _once_more(package: Package, command: Sequence[str], folder: Path, trouble: str) -> str:
    """Refresh what the client knows, if the user asked for that, and run it again."""
    if not is_set(UPDATE_VARIABLE):
        return f"{trouble}; {UPDATE_VARIABLE}=1 would run {' '.join(package.refresh)} first"
    refreshed = run(package.refresh, folder, package.timeout_s)
    trouble = run(command, folder, package.timeout_s)
    if trouble and refreshed:
        trouble += f"; {' '.join(package.refresh)}: {refreshed}"
    return trouble


def _program(name: str) -> tuple[str, ...]:
    """Return how to start a program; pip may also be a module of this Python."""
    path = shutil.which(name)
    if path is not None:
        return (str(Path(path).absolute()),)
    if name == "pip" and importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-P", "-m", "pip")  # -P: no module out of the folder it runs in
    raise DataError(f"{name} is not installed")


def run(command: Sequence[str], folder: Path, timeout_s: float) -> str:
    """Run a command in `folder`; return a one-line reason if it failed, else nothing.

    Its output goes to a file, not a pipe: a grandchild that survives could keep a pipe open.
    """
    log = folder / LOG
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                [*_program(command[0]), *command[1:]],
                cwd=folder,
                env=environment(command[0]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"{command[0]} cannot be started: {error.strerror}"
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"not ready within {timeout_s:g} s"
        except BaseException:  # Ctrl-C does not reach another session by itself
            _end(process)
            raise
    return f"exit status {status}{_complaint(log)}" if status else ""


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a client and the children it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _complaint(log: Path) -> str:
    """Return the client's first error line, else its last line, without host names."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if re.match(r"(npm (error|ERR!)|ERROR:|E:)", line)]
    return f" ({shortened((errors or lines[-1:])[0])})" if lines else ""
