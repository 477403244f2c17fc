"""The capacity planner: its FLOPs against a counter, its constants against the files that they come from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import MetaClip2Model

from metaclip_core.capacity import RATES, Fleet, Limit, NodeKind, Workload, forward_flops, parameters, plan
from metaclip_core.captions import SpecialIds
from metaclip_core.model import model_config
from metaclip_core.shapes import SHAPES, Preset

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
VOCABULARY = 1_000
DATA = NodeKind(cpus=32, gbps=12.5, per_hour=0.65)
GPU = NodeKind(cpus=96, gbps=400, per_hour=13.0, gpus=8, peak_flops=312e12)
FLEET = Fleet(data_nodes=16, gpu_nodes=8, data=DATA, gpu=GPU, utilisation=0.35)
WORK = Workload(
    pairs=5e9,
    seen=29e9,
    shape=SHAPES[Preset.H_14_QUICKGELU],
    vocab_size=901_629,
    kept_share=0.2,
    captions_per_pair=1.5,
    image_bytes=1e5,
    caption_tokens=77,
)


def on_paper(preset):
    with torch.device("meta"):
        return MetaClip2Model(
            model_config(SHAPES[preset], vocab_size=VOCABULARY, frame=SpecialIds(bos=0, eos=2, pad=1))
        )


@pytest.mark.parametrize("preset", [Preset.TINY, Preset.B_32, Preset.H_14_QUICKGELU])
def test_flops_are_those_that_torch_counts(preset):
    shape = SHAPES[preset]
    model = on_paper(preset).eval()
    ids = torch.zeros((1, shape.context_length), dtype=torch.long, device="meta")
    pixels = torch.zeros((1, 3, shape.image_size, shape.image_size), device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vision = model.vision_model(pixel_values=pixels).last_hidden_state
        text = model.text_model.encoder(inputs_embeds=model.text_model.embeddings(input_ids=ids)).last_hidden_state
        model.visual_projection(vision[:, 0])
        model.text_projection(text[:, 0])
    assert forward_flops(shape, shape.context_length) == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("preset", [Preset.TINY, Preset.B_32, Preset.H_14_QUICKGELU])
def test_parameters_are_those_of_the_model(preset):
    counted = sum(parameter.numel() for parameter in on_paper(preset).parameters())
    assert parameters(SHAPES[preset], VOCABULARY) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: rate.filed)
def test_constant_stands_in_the_file_that_it_names(rate):
    text = (RESULTS / rate.filed).read_text(encoding="utf-8")
    shown = {"s/image/core": f"{rate.value * 1e3:.1f} ms"}.get(rate.unit, f"{rate.value:,}")
    if rate.unit.startswith("s/pair"):
        kept = {"11%": 0.11, "50%": 0.50, "98%": 0.98}
        rows = [line.split("|") for line in text.splitlines() if line.startswith("| tar |")]
        costs = [float(row[3]) * 1e-6 * kept[row[2].strip()] for row in rows]
        assert min(costs) * 0.95 < rate.value < max(costs) * 1.05
    else:
        assert shown in text


def test_shortest_of_the_fleet_is_named():
    assert plan(WORK, FLEET).train.bottleneck == Limit.GPUS
    assert plan(WORK, replace(FLEET, gpu_nodes=10_000)).train.bottleneck == Limit.CORES
    assert plan(replace(WORK, image_bytes=1e8), FLEET).train.bottleneck == Limit.STORE
    starved = replace(FLEET, gpu=replace(GPU, gbps=0.01))
    assert plan(WORK, starved).train.bottleneck == Limit.FEED
    assert plan(WORK, FLEET).curate.bottleneck == Limit.STORE
    assert plan(replace(WORK, image_bytes=1e3), FLEET).curate.bottleneck == Limit.CORES


def test_plan_adds_up_by_hand():
    planned = plan(WORK, FLEET)
    assert planned.epochs == 29
    assert planned.pool_bytes == 5e14
    assert planned.curate.takes_hours == pytest.approx(5e14 * 8 / (16 * 12.5e9) / 3600)
    assert planned.curate.cost == pytest.approx(planned.curate.takes_hours * 16 * 0.65)
    seconds = 29e9 * 3 * forward_flops(WORK.shape, 77) / (64 * 312e12 * 0.35)
    assert planned.train.takes_hours == pytest.approx(seconds / 3600)
    assert planned.gpu_hours == pytest.approx(64 * seconds / 3600)
    assert planned.train.cost == pytest.approx(seconds / 3600 * (16 * 0.65 + 8 * 13))


def test_data_nodes_that_balance_do_balance():
    nodes = plan(WORK, FLEET).balanced_data_nodes
    balanced = plan(WORK, replace(FLEET, data_nodes=nodes)).train.hours
    others = [hours for limit, hours in balanced.items() if limit != Limit.GPUS]
    assert max(others) == pytest.approx(balanced[Limit.GPUS])


@given(factor=st.floats(1.1, 100), nodes=st.integers(1, 500))
def test_more_machines_are_never_slower_and_more_work_never_faster(factor, nodes):
    fleet = replace(FLEET, data_nodes=nodes)
    base = plan(WORK, fleet)
    more = plan(WORK, replace(fleet, data_nodes=nodes * 2, gpu_nodes=fleet.gpu_nodes * 2))
    assert more.train.takes_hours <= base.train.takes_hours
    assert more.curate.takes_hours <= base.curate.takes_hours
    harder = plan(replace(WORK, pairs=WORK.pairs * factor, seen=WORK.seen * factor), fleet)
    assert harder.train.takes_hours == pytest.approx(base.train.takes_hours * factor)
    assert harder.curate.cost == pytest.approx(base.curate.cost * factor)
