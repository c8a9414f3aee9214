"""The Python of docs/training.md runs as it stands there."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[3] / "docs" / "training.md"


def test_the_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    torch.set_num_threads(1)
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})
    lines = capsys.readouterr().out.strip().splitlines()
    errors = [line.split("output error ")[1].split(" -> ") for line in lines[:-1]]
    assert len(errors) == 3
    assert all(float(after) <= float(before) for before, after in errors)
    first, last = lines[-1].removeprefix("loss ").split(" -> ")
    assert float(last) < float(first)
