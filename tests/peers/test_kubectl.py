"""Every kubectl from 1.29 on says the same of our server as of the real one: output, errors and exit codes.

The steps are in kubectl/steps.txt; each program plays all of them on both servers, in a namespace of its own. Left out
is what differs on purpose: versions, who the user is, kinds that are only stored (a warning says so).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_process import running
from kube_apiserver import kube_apiserver
from peer import FOLDER, peer

pytestmark = pytest.mark.peers
peer("kube-apiserver")
peer("etcd")

FILES = Path(__file__).with_name("kubectl")
CIDRS = "172.30.0.0/16,fd00:172:30::/112"
OLDEST = 29
STRICT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: strict}\nbogus: 1\n"
UNSTABLE = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000( UTC)?)", "TIME"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "DATE"),
    (r'(resourceVersion"?: ?)"\d+"', r"\1RV"),
    (r"\b\d+[smh](\d+s)?\b", "AGE"),
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"eyJ\S+", "TOKEN"),
    (r"-[a-z0-9]{9,10}-[a-z0-9]{5}\b|-[a-z0-9]{10}\b", "-HASH"),
    (r" +", " "),
)


def programs() -> list[str]:
    """Those of `make peers`, of the path, and those that cloud tools bring with a version in the name."""
    found = [FOLDER / "kubectl", *sorted(Path("/usr/lib/google-cloud-sdk/bin").glob("kubectl.1.*"))]
    named = [p for p in found if p.exists() and (p.suffix == "" or int(p.suffix[1:]) >= OLDEST)]
    plain = shutil.which("kubectl")
    return [str(p) for p in named] or ([plain] if plain else [])


@pytest.fixture(scope="module")
def kubeconfigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Ours and the real one's."""
    folder = tmp_path_factory.mktemp("ours")
    with (
        kube_apiserver(tmp_path_factory.mktemp("theirs"), service_cidrs=CIDRS) as theirs,
        running(folder, "--service-cidr", CIDRS),
    ):
        other = folder / "theirs"
        other.write_text(theirs.kubeconfig)
        yield folder / "kubeconfig", other


def play(program: str, kubeconfig: Path, step: str, manifest: str, home: Path) -> tuple[int, str, str]:
    """Exit code, output and errors, without what no two runs have in common."""
    document = STRICT if "strict" in step else manifest if "-f -" in step else None
    command = [program, "--kubeconfig", str(kubeconfig), *step.split(" ")]
    environment = {**os.environ, "HOME": str(home), "KUBECTL_EXTERNAL_DIFF": "diff -u -N"}
    done = subprocess.run(
        command, input=document, capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    out, err = done.stdout, done.stderr
    for pattern, shown in UNSTABLE:
        out, err = re.sub(pattern, shown, out), re.sub(pattern, shown, err)
    return done.returncode, out, err


@pytest.mark.parametrize("program", programs() or [pytest.param("", marks=pytest.mark.skip("no kubectl is here"))])
def test_every_command_says_the_same(program: str, kubeconfigs: tuple[Path, Path], tmp_path: Path) -> None:
    namespace = "k" + re.sub(r"\W", "-", Path(program).name)
    addresses = f"172.30.{100 + programs().index(program)}."
    manifest = (FILES / "manifest.yaml").read_text().replace("172.30.66.", addresses)
    homes = [tmp_path / "ours", tmp_path / "theirs"]
    for step in (FILES / "steps.txt").read_text().splitlines():
        line = step.replace("NS", namespace).replace("172.30.66.", addresses)
        ours, theirs = (play(program, k, line, manifest, h) for k, h in zip(kubeconfigs, homes, strict=True))
        assert ours == theirs, line
