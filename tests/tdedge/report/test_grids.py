from support.devices import curve, device, document, energy, gone

from tdedge.report.results import Results


def found(**devices) -> Results:
    return Results.of(document(**devices))


def grid(name, **devices):
    return next(one for one in found(**devices).grids() if name in one.title)


def test_latency_on_a_device():
    one = grid("1 thread", pi5=device())
    assert one.title == "pi5, onnxruntime, 1 thread: measured"
    base, small = (dict(zip(one.columns, row, strict=True)) for row in one.rows)
    assert (base["network"], base["times faster"], base["realisation"]) == ("base", "-", "-")
    assert small["times faster"] == "4.00x"
    assert (small["MACs"], small["realisation"]) == ("6.00x", "0.67")
    assert small["parity"] == "3.0e-07 passed"
    assert one.notes == ("round 2 of 2 does not count: under-voltage (vcgencmd get_throttled 0x50005)",)
    assert not one.warn


def test_what_does_not_count_is_said():
    one = grid("1 thread", pi5=device("emulated", valid=False))
    assert "emulated: instruction time" in one.title
    assert one.warn
    assert one.notes[0].startswith("INVALID, no round counts: under-voltage")


def test_parity_that_fails_is_said():
    spoilt = device()
    report = spoilt["targets"]["onnxruntime"]["parity"]["small"]
    report |= {"passed": False, "max_rel": 0.5, "reason": "output 'y': far off"}
    one = grid("1 thread", pi5=spoilt)
    assert one.rows[1][-1] == "5.0e-01 FAILED"
    assert "small: parity: output 'y': far off" in one.notes


def test_memory():
    one = grid("start and memory", pi5=device())
    base = dict(zip(one.columns, one.rows[0], strict=True))
    assert (base["load"], base["first"]) == ("12.00 ms", "7.00 ms")
    assert (base["own memory"], base["peak RSS"], base["PSS"]) == ("8.0 MiB", "62.0 MiB", "37.0 MiB")
    assert (base["weights"], base["file"]) == ("2.0 MiB", "1.0 MiB")
    assert one.notes[0].startswith("arena: predicted from the graph")


def test_memory_that_cannot_be_read_has_its_reason():
    spoilt = device()
    for model in spoilt["targets"]["onnxruntime"]["result"]["models"].values():
        model["memory"]["pss_bytes"] = {"value": None, "unit": "bytes", "reason": "no rollup"}
    one = grid("start and memory", pi5=spoilt)
    assert one.rows[0][one.columns.index("PSS")] == "-"
    assert "base, small: pss not measurable: no rollup" in one.notes


def test_energy():
    one = grid("energy", pi5=device())
    gross, net = "200 mJ (196 mJ to 204 mJ)", "100 mJ (98 mJ to 102 mJ)"
    assert one.rows[0] == ("base", gross, net, "-", "2.3 W", "4.2 W", "12 rails, lower bound")
    assert one.rows[1][3] == "4.00x"
    assert one.notes == ("base, small: windows; rails VDD_CORE",)


def test_energy_without_a_sensor_is_a_reason():
    spoilt = device()
    spoilt["targets"]["onnxruntime"]["energy"] = {"base": energy(None), "small": energy(None)}
    one = grid("energy", pi5=spoilt)
    assert one.rows[0][1:4] == ("-", "-", "-")
    assert one.notes == ("base, small: not measurable: no sensor. Looked for rapl: none",)


def test_sustained():
    one = grid("without a pause", pi5=device())
    assert one.rows[0] == ("base", "3.98 min", "40.00 ms", "56.00 ms", "+40.0 %", "80.0 °C")
    assert one.notes == ("base, small: slowed down from 120 s on: throttled (vcgencmd get_throttled 0x4)",)
    spoilt = device()
    spoilt["targets"]["onnxruntime"]["sustained"] = {
        "base": curve(1.0),
        "small": {"complete": False, "reason": "cannot", "points": []},
    }
    one = grid("without a pause", pi5=spoilt)
    assert one.rows[1] == ("small", "-", "-", "-", "-", "-")
    assert "small: cannot" in one.notes


def test_failures_are_one_table():
    one = grid("Not measured", pi5=device(), phone=gone())
    assert one.rows == (("phone", "connection", "adb://R58M cannot be reached"),)
    assert not any("Not measured" in each.title for each in found(pi5=device()).grids())


def test_all_devices_at_a_glance():
    one = grid("All devices", pi5=device(), vm=device("emulated", valid=False), phone=gone())
    assert [row[:4] for row in one.rows] == [
        ("pi5, onnxruntime", "measured", "41.40 ms > 10.35 ms", "4.00x"),
        ("vm, onnxruntime", "INVALID", "41.40 ms > 10.35 ms", "4.00x"),
    ]
    assert one.rows[0][4:] == ("0.67", "4.00x", "8.0 MiB > 8.0 MiB", "passed")
    assert not any(each.title == "All devices" for each in found(pi5=device()).grids())
