"""Stand-ins for the runtimes' benchmark programs: real inference, printed in the programs' formats.

No package that the tests could install holds these programs for this machine. A stand-in is one file, as
the real program is: a Python script whose first line names the interpreter that has the runtimes.
"""

import hashlib
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

#: Folders of this machine that a phone must show for the stand-ins to run there.
FOLDERS = [
    folder
    for folder in dict.fromkeys([sys.prefix, sys.base_prefix, str(ROOT / "runtimes")])
    if not Path(folder).is_relative_to("/usr")
]


def settings(folder: Path, *names: str) -> dict[str, str]:
    """Write the stand-ins into a folder; the settings of a device that has them."""
    given = {}
    for name in names or ("benchmark_model", "onnxruntime_perf_test"):
        path = folder / name
        lines = (HERE / f"{name}.py").read_text(encoding="utf-8").splitlines(keepends=True)
        head = f"#!{sys.executable}\nimport sys\nsys.path.append({str(ROOT / 'runtimes')!r})\n"
        path.write_text(head + "".join(lines), encoding="utf-8")
        path.chmod(0o755)
        given |= {name: str(path), f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return given
