"""`metaclip plan`: what a pool and a training would take, before any of it is paid for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import UserError
from ray_jobs.options import run_job

if TYPE_CHECKING:
    from metaclip_core.capacity import CapacityPlan, Phase
    from metaclip_core.shapes import Preset

Pairs = Annotated[float, typer.Option("--pairs", help="Pairs of the pool, as 5e9.", min=1)]
Seen = Annotated[float, typer.Option("--seen", help="Pairs seen in training, as 29e9.", min=1)]
Model = Annotated[str, typer.Option("--model", help="A preset, or its size alone, as H/14.")]
PriceFile = Annotated[Path, typer.Option("--prices", metavar="FILE", help="Machines and what they cost.")]
DataNodes = Annotated[int, typer.Option("--data-nodes", min=1)]
GpuNodes = Annotated[int, typer.Option("--gpu-nodes", min=1)]
Kept = Annotated[float, typer.Option("--kept", help="Share of the pool that an epoch draws.", min=1e-6, max=1)]
Captions = Annotated[float, typer.Option("--captions", help="Captions of a pair.", min=0)]
ImageKb = Annotated[float, typer.Option("--image-kb", help="Kilobytes of an image in the pool.", min=0.1)]
DecodeMs = Annotated[float | None, typer.Option("--decode-ms", help="CPU of decoding an image, where measured.", min=0)]
Tokens = Annotated[float, typer.Option("--tokens", help="Tokens of a caption with its padding.", min=1)]
Vocabulary = Annotated[int, typer.Option("--vocabulary", help="Tokens that the tokenizer knows.", min=1)]
Utilisation = Annotated[
    float,
    typer.Option("--utilisation", help="Share of a GPU's peak, as `metaclip doctor --gpu` says.", min=0.01, max=1),
]

_TERA = 1e12
_GIGA = 1e9


def command(
    *,
    pairs: Pairs,
    seen: Seen,
    model: Model,
    prices: PriceFile,
    data_nodes: DataNodes = 16,
    gpu_nodes: GpuNodes = 8,
    kept: Kept = 0.2,
    captions: Captions = 1.5,
    image_kb: ImageKb = 100,
    decode_ms: DecodeMs = None,
    tokens: Tokens = 77,
    vocabulary: Vocabulary = 901_629,
    utilisation: Utilisation = 0.35,
) -> None:
    """Hours, bytes and cost of curating a pool and training on it, and what the time goes to."""
    from metaclip_core import capacity
    from metaclip_core.shapes import SHAPES
    from pipelines.config.prices import read_prices

    paid = read_prices(prices)
    peak = capacity.peak_flops(paid.gpu.kind)
    if peak is None:
        raise UserError(f"no peak is known of a GPU of kind {paid.gpu.kind!r} in {prices}")
    preset = find_preset(model)
    workload = capacity.Workload(
        pairs=pairs,
        seen=seen,
        shape=SHAPES[preset],
        vocab_size=vocabulary,
        kept_share=kept,
        captions_per_pair=captions,
        image_bytes=image_kb * 1e3,
        caption_tokens=tokens,
        decode_s=capacity.DECODE_SECONDS.value if decode_ms is None else decode_ms / 1e3,
    )
    fleet = capacity.Fleet(
        data_nodes=data_nodes,
        gpu_nodes=gpu_nodes,
        data=capacity.NodeKind(paid.data.cpus, paid.data.gbps, paid.data.per_hour),
        gpu=capacity.NodeKind(paid.gpu.cpus, paid.gpu.gbps, paid.gpu.per_hour, paid.gpu.gpus, peak),
        utilisation=utilisation,
    )
    planned = capacity.plan(workload, fleet)
    data = f"{data_nodes} × {paid.data.machine}"
    typer.echo(f"{preset}: {seen:,.0f} of {pairs:,.0f} pairs, {planned.epochs:.1f} epochs of {kept:.1%}")
    _show("curate", data, planned.curate, paid.currency)
    _show("train", f"{gpu_nodes} × {paid.gpu.machine} + {data}", planned.train, paid.currency)
    _show_rest(planned, paid.store_gb_month, paid.currency)
    typer.echo(f"stated, not measured: {utilisation:.0%} of the GPUs' peak; {image_kb:g} kB an image; {kept:.1%} drawn")
    typer.echo("measured, tests/benchmarks/results:")
    for rate in capacity.RATES:
        typer.echo(f"  {rate.value:g} {rate.unit}: {rate.of} ({rate.filed})")


def find_preset(name: str) -> Preset:
    """The preset of a name, or the first of a size such as H/14.

    Raises:
        UserError: there is none.
    """
    from metaclip_core.shapes import Preset

    if name in set(Preset):
        return Preset(name)
    size = name.removeprefix("ViT-").replace("/", "-")
    found = [preset for preset in Preset if preset.startswith(f"ViT-{size}-worldwide")]
    if not found:
        raise UserError(f"no model {name!r}: one of {', '.join(Preset)}")
    return found[0]


def _show(name: str, fleet: str, phase: Phase, currency: str) -> None:
    typer.echo(
        f"{name}: {phase.takes_hours:,.1f} h on {fleet}, {phase.read_bytes / _TERA:,.1f} TB read, "
        f"{phase.cost:,.0f} {currency}"
    )
    each = ", ".join(f"{limit} {hours:,.1f} h" for limit, hours in sorted(phase.hours.items(), key=lambda one: -one[1]))
    typer.echo(f"  bottleneck: {phase.bottleneck} ({each})")


def _show_rest(planned: CapacityPlan, store_gb_month: float, currency: str) -> None:
    typer.echo(
        f"GPU hours: {planned.gpu_hours:,.0f}; data nodes that keep these GPUs busy: {planned.balanced_data_nodes:,.1f}"
    )
    typer.echo(
        f"pool: {planned.pool_bytes / _TERA:,.1f} TB, {planned.pool_bytes / _GIGA * store_gb_month:,.0f} {currency} a "
        f"month; a checkpoint: {planned.checkpoint_bytes / _GIGA:,.1f} GB"
    )
    total = planned.curate.cost + planned.train.cost
    typer.echo(f"compute in all: {total:,.0f} {currency}")


if __name__ == "__main__":
    run_job(command)
