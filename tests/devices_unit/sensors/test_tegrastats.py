"""tegrastats: rails among everything else a line tells."""

import pytest
from support.boards import Board, Wave, played, total_j

from tdedge_devices.sensors import tegrastats

WAVE = Wave(mean=7)
ORIN = (
    "11-21-2026 20:00:01 RAM 3347/7467MB (lfb 896x4MB) SWAP 0/3733MB (cached 0MB) CPU [21%@1190,off,3%@729] "
    "EMC_FREQ 13%@2133 GR3D_FREQ 61%@[1300] NVDEC off APE 174 cpu@42.5C tj@52.5C soc0@50.1C "
    "VDD_IN {now}mW/8050mW VDD_CPU_GPU_CV 1000mW/1200mW VDD_SOC 1442mW/1440mW"
)
NANO = (
    "RAM 1409/3964MB (lfb 28x4MB) SWAP 0/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [22%@518,off] "
    "EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@28.5C thermal@31.25C "
    "POM_5V_IN {now}/4970 POM_5V_GPU 0/0 POM_5V_CPU 320/320"
)


def board(line):
    text = lambda t: line.format(now=round(WAVE.watts(t) * 1e3))  # noqa: E731
    return Board(programs={"tegrastats": {"--interval 50": text}})


@pytest.mark.parametrize(
    ("line", "rail", "others"),
    [
        (ORIN, "VDD_IN", {"VDD_CPU_GPU_CV": 1.0, "VDD_SOC": 1.442}),
        (NANO, "POM_5V_IN", {"POM_5V_GPU": 0.0, "POM_5V_CPU": 0.32}),
    ],
)
def test_the_first_number_of_the_pair_with_and_without_unit(tmp_path, line, rail, others):
    device = board(line)
    sensor = tegrastats.find(device.shell(tmp_path), {})
    assert (sensor.rails, sensor.scope) == ((rail,), "module")
    reading = sensor.read(device.values(sensor, tmp_path, 0.0))
    assert reading.power_w == pytest.approx({rail: WAVE.watts(0)} | others, rel=1e-3)
    samples = played(device, sensor, tmp_path, interval_s=0.05)
    assert total_j(samples, sensor, 1, 11) == pytest.approx(WAVE.joules(11) - WAVE.joules(1), rel=3e-3)


def test_a_line_that_is_cut_off_is_no_sample(tmp_path):
    sensor = tegrastats.find(board(ORIN).shell(tmp_path), {})
    assert sensor.read({"line": ORIN.format(now=5000)[:120]}) is None
    assert sensor.read({"line": None}) is None


def test_without_the_program_or_its_rails(tmp_path):
    assert "tegrastats tells no rail" in tegrastats.find(Board().shell(tmp_path), {}).reason
    assert "tells no rail" in tegrastats.find(board("RAM 1409/3964MB").shell(tmp_path), {}).reason
