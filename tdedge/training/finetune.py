"""Fine-tuning of a network, compressed or dense: a plain loop, with distillation from a teacher.

One step minimises, over a batch of inputs x with labels y, student f and teacher g,

    (1 - a) loss(f(x), y)  +  a T^2 KL( softmax(g(x) / T) || softmax(f(x) / T) )

with a = ``distill_weight`` (0 where there is no teacher) and T = ``temperature``; T^2 keeps the size of the
second term's gradients. AdamW; the learning rate falls along a cosine from its start to 0, or stays. Biases
and normalisations are not decayed. The factors of a chain are ordinary parameters here.

Where this loop does not fit (augmentation, several inputs, other optimisers), use your own: a compressed
network is an ordinary torch module.

Sources: Hinton, Vinyals, Dean 2015 (arXiv 1503.02531) for distillation; Loshchilov and Hutter 2019
(arXiv 1711.05101) for AdamW and 2017 (arXiv 1608.03983) for the cosine.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdedge.errors import GateError, UsageError
from tdedge.progress import SILENT, Progress
from tdedge.training.guards import DegeneracyGuard, Degenerate

#: ``loss(outputs, labels) -> scalar``, the mean over the batch.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """How to fine-tune.

    Attributes:
        epochs: passes over the data.
        batch_size: samples per step.
        learning_rate: of AdamW, at the start.
        weight_decay: of AdamW, for weights and kernels.
        schedule: ``"cosine"`` from the learning rate to 0 over all steps, or ``"constant"``.
        distill_weight: share of the distillation term, 0 to 1; counts only where there is a teacher.
        temperature: of the distillation.
        mixed_precision: ``"auto"``, bfloat16 arithmetic where the network is on a CUDA device that has it,
            or ``"off"``.
        seed: of the order of the samples, and of dropout.
        gradient_clip: largest norm of all gradients together; None for none.

    Raises:
        UsageError: when a value is out of range.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    distill_weight: float = 0.5
    temperature: float = 4.0
    mixed_precision: Literal["auto", "off"] = "auto"
    seed: int = 0
    gradient_clip: float | None = 1.0

    def __post_init__(self) -> None:
        clip = 1.0 if self.gradient_clip is None else self.gradient_clip
        checks = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "schedule": (self.schedule in ("cosine", "constant"), "'cosine' or 'constant'"),
            "distill_weight": (0 <= self.distill_weight <= 1, "from 0 to 1"),
            "temperature": (self.temperature > 0, "above 0"),
            "mixed_precision": (self.mixed_precision in ("auto", "off"), "'auto' or 'off'"),
            "gradient_clip": (clip > 0, "above 0, or None"),
        }
        for name, (is_right, expected) in checks.items():
            if not is_right:
                raise UsageError(f"{name} {getattr(self, name)!r}; expected {expected}")


@dataclass(frozen=True)
class History:
    """What a run of :func:`finetune` did.

    Attributes:
        losses: mean of what was minimised, per epoch.
        learning_rates: at the end of each epoch.
        steps: of the optimiser, over all epochs.
        precision: type the network's arithmetic ran in, ``"float32"`` or ``"bfloat16"``.
        degenerate: CP and KCP chains whose components grew apart, and what was done.
    """

    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    steps: int
    precision: str
    degenerate: tuple[Degenerate, ...] = ()


def finetune(
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: Settings | None = None,
    *,
    teacher: nn.Module | None = None,
    loss: Loss | None = None,
    progress: Progress = SILENT,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
) -> History:
    """Train ``module`` in place, and leave it in evaluation mode.

    Deterministic for a seed, on one machine at one number of threads; the caller's random state is not
    touched. Data may stay on the CPU while the network is elsewhere: batches are moved. CP and KCP chains
    are watched, see :mod:`tdedge.training.guards`.

    Args:
        module: any network of one input; parameters that require no gradient stay as they are.
        inputs: (N, ...).
        labels: (N, ...), what ``loss`` takes.
        settings: see :class:`Settings`; its defaults where None.
        teacher: a network with the same outputs, class scores before the softmax, (N, classes, ...).
        loss: mean over a batch; cross-entropy where None.
        progress: one step per epoch.
        after_epoch: called with the epoch (from 0) and the module, in evaluation mode.

    Raises:
        UsageError: when the data do not fit, or nothing can be trained.
        GateError: when the loss is no finite number any more.
    """
    settings = settings or Settings()
    _check(module, inputs, labels)
    parameters = [p for p in module.parameters() if p.requires_grad]
    device = parameters[0].device
    share = settings.distill_weight if teacher is not None else 0.0
    goals = None if teacher is None or share == 0 else _answers(teacher, inputs, settings.batch_size, device)
    task = loss or functional.cross_entropy
    half = settings.mixed_precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    steps = settings.epochs * len(_batches(torch.arange(len(inputs)), settings.batch_size))
    optimiser, schedule = _optimiser(parameters, settings, steps)
    guard = DegeneracyGuard(module)
    losses, rates = [], []
    progress.start("Fine-tune", settings.epochs)
    try:
        with _seeded(settings.seed, device):
            for epoch in range(settings.epochs):
                module.train()
                total = 0.0
                for batch in _batches(torch.randperm(len(inputs)), settings.batch_size):
                    optimiser.zero_grad(set_to_none=True)
                    with torch.autocast(device.type, torch.bfloat16, enabled=half):
                        outputs = module(inputs[batch].to(device))
                    outputs = outputs.float() if half else outputs
                    value = torch.zeros((), device=device)
                    if share < 1:
                        value = value + (1 - share) * task(outputs, labels[batch].to(device))
                    if goals is not None:
                        value = value + share * distillation(outputs, goals[batch], settings.temperature)
                    value.backward()  # type: ignore[no-untyped-call]
                    if settings.gradient_clip is not None:
                        nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
                    optimiser.step()
                    schedule.step()
                    total += float(value.detach()) * len(batch)
                losses.append(_finite(total / len(inputs), epoch, settings))
                rates.append(float(schedule.get_last_lr()[0]))
                module.eval()
                for parameter in guard(epoch, module):
                    optimiser.state.pop(parameter, None)  # its moments are those of other scales
                if after_epoch is not None:
                    after_epoch(epoch, module)
                progress.step(f"epoch {epoch + 1}, loss {losses[-1]:.4g}")
    finally:
        module.eval()
        optimiser.zero_grad(set_to_none=True)
        progress.finish()
    return History(tuple(losses), tuple(rates), steps, "bfloat16" if half else "float32", tuple(guard.events))


def distillation(outputs: Tensor, goals: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(goals / T) || softmax(outputs / T))``, summed over axis 1, mean elsewhere."""
    student = functional.log_softmax(outputs / temperature, 1)
    wanted = functional.log_softmax(goals / temperature, 1)
    gap = functional.kl_div(student, wanted, reduction="none", log_target=True).sum(1)
    return gap.mean() * temperature**2


def _check(module: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    if len(inputs) != len(labels) or len(inputs) == 0:
        raise UsageError(
            f"{len(inputs)} inputs and {len(labels)} labels; expected as many of both, at least 1"
        )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UsageError("no parameter of the network requires a gradient; call requires_grad_() on a part")


def _answers(teacher: nn.Module, inputs: Tensor, batch_size: int, device: torch.device) -> Tensor:
    """The teacher's outputs in evaluation mode, (N, classes, ...); its modes are restored."""
    modes = {child: child.training for child in teacher.modules()}
    home = next((p.device for p in teacher.parameters()), device)
    teacher.eval()
    try:
        with torch.no_grad():
            return torch.cat([teacher(part.to(home)).to(device) for part in torch.split(inputs, batch_size)])
    finally:
        for child, mode in modes.items():
            child.training = mode


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Indices in batches; a last one of a single sample joins its neighbour (batch norm needs two)."""
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _optimiser(
    parameters: list[nn.Parameter], settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)

    def share(step: int) -> float:
        return 1.0 if settings.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, share)


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from ``seed``; the caller's generators are put back."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _finite(loss: float, epoch: int, settings: Settings) -> float:
    if not math.isfinite(loss):
        raise GateError(
            f"the loss is {loss} in epoch {epoch + 1} at learning rate {settings.learning_rate:g}; "
            "lower the learning rate"
        )
    return loss
