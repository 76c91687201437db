"""What the build adds to the packages; all else is in pyproject.toml.

* The fast form of the knowledge tables, also for an editable installation.
* Copies of files at the repository's root. A checkout reads the originals (``gpuenv.manifests``,
  ``gpuenv_sandbox.scenario.environments``), so that no copy can be out of date there.
"""

import sys
import warnings
from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.warnings import InformationOnly

COPIES = (
    ("gpuenv", "crds/*.yaml", "gpuenv/manifests/crds"),
    ("gpuenv_sandbox", "examples/pytorch-2.9.yaml", "gpuenv_sandbox/scenario"),
)
"""The package that needs the files, the files, and the folder in the wheel that they go to."""

ROOT = Path(__file__).parent

# An editable installation with two source folders always gets this note, and pip prints it. Nothing else is silenced.
warnings.filterwarnings("ignore", r"Editable installation\.", InformationOnly)


class BuildPackages(build_py):
    """Builds the packages and what is added to them."""

    def run(self) -> None:
        """Build what the command line asked for."""
        super().run()
        self._make_tables(ROOT / "operator" if self.editable_mode else Path(self.build_lib))
        for package, pattern, folder in COPIES:
            # The operator's image is built without the sandbox.
            if not self.editable_mode and package in self.packages:
                self._copy(pattern, Path(self.build_lib, folder))

    def _make_tables(self, packages: Path) -> None:
        sys.path.insert(0, str(ROOT / "operator"))
        from gpuenv.knowledge import compile as tables  # of this tree, which is not installed yet

        tables.write(packages / "gpuenv/knowledge" / tables.FAST_FORM.name)

    def _copy(self, pattern: str, folder: Path) -> None:
        found = sorted(ROOT.glob(pattern))
        if not found:
            raise FileNotFoundError(f"{ROOT / pattern}: the build needs it")
        folder.mkdir(parents=True, exist_ok=True)
        for path in found:
            copyfile(path, folder / path.name)


setup(cmdclass={"build_py": BuildPackages})
