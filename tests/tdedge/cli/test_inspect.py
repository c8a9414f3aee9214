import onnx_ir as ir
import pytest
from support.graphs import Net
from support.networks import MACS, PARAMS, save_classifier, save_factory


@pytest.fixture
def net(folder):
    return save_classifier(folder / "net.onnx")


def test_costs_and_layers(tdedge, net):
    done = tdedge("inspect", net)
    assert done.code == 0
    assert "1,140" in done.out and "44,976" in done.out
    assert "n_c" in done.out and "69.2%" in done.out
    assert "Rewrites" not in done.out


def test_compression_and_rewrites(tdedge, net):
    done = tdedge("inspect", net, "--format", "tucker", "--ranks", "3,4", "--keep", "n_a", "--explain")
    for text in ("dense", "compressed", "rewritten", "fewer", "n_c", "3,4", "the plan keeps it", "Rewrites"):
        assert text in done.out


def test_json_is_all_there_is_on_stdout(tdedge, net):
    done = tdedge("inspect", net, "--format", "tucker", "--energy", "0.8", "--json", "--explain")
    assert (done.document["dense"]["params"], done.document["dense"]["macs"]) == (PARAMS, MACS)
    assert done.document["compressed"]["macs"] < MACS
    assert "Rewrites" in done.err


@pytest.mark.parametrize("rule", [["--ranks", "evbmf"], ["--rank-ratio", "0.5"], ["--energy", "0.8"]])
def test_rank_rules(tdedge, net, rule):
    done = tdedge("inspect", net, "--format", "tucker", *rule, "--json", "-q")
    assert done.code == 0, done.err
    assert done.err == ""
    assert {row["name"] for row in done.document["compression"]["rows"]} == {"n_a", "n_c", "n_y"}
    assert done.document["compression"]["totals"]["params_after"] < PARAMS


def test_plan_file(tdedge, net, folder):
    (folder / "plan.toml").write_text("[layers.n_c]\nformat = 'tucker'\nranks = [2, 2]\n")
    done = tdedge("inspect", net, "--plan", "plan.toml", "--json")
    rows = {row["name"]: row for row in done.document["compression"]["rows"]}
    assert rows["n_c"]["ranks"] == [2, 2]
    assert rows["n_a"]["status"] == "kept"


def test_code_that_was_run_is_noted(tdedge, folder):
    source = save_factory(folder)
    for extra in ([], ["--format", "tucker", "--energy", "0.8"]):
        done = tdedge("inspect", source, *extra)
        assert "note: ran the code of net.py:classifier" in done.err


def test_names_with_brackets_are_shown_as_they_are(tdedge, folder):
    net = Net(1, 3, 8, 8)
    net.conv("x", 8, 3, 3, 3, name="a")
    model = net.model()
    next(iter(model.graph)).name = "block[/b]/[red]conv:smile:"
    ir.save(model, folder / "[red]net.onnx")
    done = tdedge("inspect", "[red]net.onnx", "--explain")
    assert done.code == 0, done.err
    assert "block[/b]/[red]conv:smile:" in done.out


def test_quiet_says_nothing(tdedge, net):
    done = tdedge("inspect", net, "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
