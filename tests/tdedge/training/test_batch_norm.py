"""Re-estimated statistics are those of the data; nothing else changes."""

import pytest
import torch
from torch import nn

from tdedge.errors import UsageError
from tdedge.training.batch_norm import recalibrate_batch_norm


def test_statistics_are_those_of_all_samples():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 2)
    )
    module.train()
    module[4].eval()
    state = {name: value.clone() for name, value in module.state_dict().items() if "running" not in name}
    inputs = torch.randn(61, 2, 6, 6) * torch.linspace(0.5, 2, 61)[:, None, None, None] + 1
    assert recalibrate_batch_norm(module, inputs, batch_size=20) == 1
    with torch.no_grad():
        outputs = module[0](inputs[:60])  # the last sample alone has no variance
    assert torch.allclose(module[1].running_mean, outputs.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(module[1].running_var, outputs.var((0, 2, 3)), rtol=1e-2)
    assert module[1].momentum == 0.1
    assert [child.training for child in module] == [True, True, True, True, False]
    kept = {name: value for name, value in module.state_dict().items() if "running" not in name}
    assert all(torch.equal(value, state[name]) for name, value in kept.items() if "tracked" not in name)


def test_no_normalisation_and_no_data():
    assert recalibrate_batch_norm(nn.Linear(2, 2), torch.zeros(3, 2)) == 0
    with pytest.raises(UsageError, match="samples"):
        recalibrate_batch_norm(nn.BatchNorm1d(2), torch.zeros(0, 2))
