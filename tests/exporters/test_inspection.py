import json

from support.networks import MACS, PARAMS, save_classifier

from tdedge.plan import CompressionPlan, LayerRule
from tdedge_exporters.inspection import inspect_network
from tdedge_exporters.prepare import Source

#: n_c, (12, 8, 3, 3), as 8 > IN > OUT > 12 channels.
IN, OUT = 3, 4
TUCKER = CompressionPlan(layers={"n_c": LayerRule(format="tucker", ranks=(IN, OUT))})


def test_costs_counted_by_hand(tmp_path):
    seen = inspect_network(Source(save_classifier(tmp_path / "net.onnx")))
    assert list(seen.costs) == ["network"]
    totals = seen.costs["network"].totals()
    assert (totals["params"], totals["macs"]) == (PARAMS, MACS)
    assert totals["weight_bytes"] == 4 * PARAMS
    assert totals["peak_activation_bytes"] == 4 * (8 + 8) * 64
    assert (seen.ratios, seen.records) == (None, ())


def test_before_and_after_compression(tmp_path):
    seen = inspect_network(Source(save_classifier(tmp_path / "net.onnx")), TUCKER)
    assert list(seen.costs) == ["dense", "compressed"]
    small = seen.costs["compressed"].totals()
    assert small["params"] == PARAMS - 12 * 72 + 8 * IN + 9 * IN * OUT + 12 * OUT
    assert small["macs"] == MACS - 12 * 72 * 36 + 8 * IN * 64 + (9 * IN * OUT + 12 * OUT) * 36
    assert seen.ratios["macs"] == MACS / small["macs"]


def test_rewritten_stage_and_records_where_asked_for(tmp_path):
    source = Source(save_classifier(tmp_path / "net.onnx"))
    plan = CompressionPlan(layers={"n_c": LayerRule(format="svd", ranks=(12,))})
    seen = inspect_network(source, plan, rewrites=True)
    assert list(seen.costs) == ["dense", "compressed", "rewritten"]
    assert any(record.changed for record in seen.records)
    rewritten, compressed = (seen.costs[stage].totals()["macs"] for stage in ("rewritten", "compressed"))
    assert rewritten < compressed


def test_document(tmp_path):
    seen = inspect_network(Source(save_classifier(tmp_path / "net.onnx")), TUCKER, rewrites=True)
    document = json.loads(json.dumps(seen.to_json(), allow_nan=False))
    assert (document["kind"], document["source_kind"], document["name"]) == ("computed", "onnx", "net")
    assert document["dense"]["params"] == PARAMS
    assert document["ratios"] == seen.ratios
    assert document["plan"]["layers"]["n_c"]["format"] == "tucker"
    assert {row["name"] for row in document["compression"]["rows"]} == {"n_a", "n_c", "n_y"}
    assert len(document["rewrites"]) == len(seen.records) > 0
