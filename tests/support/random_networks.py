"""Random small networks for the planner: chains, residual sums, branches, pools, gates and heads."""

import numpy as np
from support.graphs import Net


class Grower:
    """A network that grows by random layers; deterministic by seed.

    Every value (name, channels, sizes) may be read again, so that readers, branches and outputs mix.
    """

    def __init__(self, seed: int, axes: int, batch: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.axes = axes
        sizes = [int(self.rng.integers(5, 9)) for _ in range(axes)]
        channels = int(self.rng.integers(1, 5))
        self.net = Net(batch, channels, *sizes, seed=seed)
        self.at = ("x", channels, sizes)
        self.values = [self.at]
        self.outputs: list[str] = []

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def grow(self, layers: int) -> "Grower":
        steps = [self.conv] * 5 + [self.pointwise] * 4 + [self.act] * 3 + [self.scale] * 2
        steps += [self.residual] * 2 + [self.pool] * 2 + [self.gate, self.join, self.two_outputs]
        for _ in range(layers):
            self.at = self.pick(*steps)() or self.at
            self.values.append(self.at)
            if self.chance(0.08):
                self.outputs.append(self.at[0])
            if self.chance(0.1):
                self.at = self.pick(*self.values)
        if self.at[0] in ("x", *self.outputs):
            self.at = (self.net.add("Neg", self.at[0]), *self.at[1:])
        self.outputs.append(self.at[0])
        self.outputs = list(dict.fromkeys(name for name in self.outputs if name != "x"))
        return self

    def head(self) -> "Grower":
        """Mean over positions, two Linear layers."""
        name, channels, _ = self.at
        y = self.net.add("Flatten", self.net.add("GlobalAveragePool", name))
        y = self.net.add("Gemm", y, self.net.weight(6, channels), self.net.weight(6), transB=1)
        y = self.net.add("Add", self.net.add("MatMul", y, self.net.weight(6, 3)), self.net.weight(3))
        self.outputs.append(y)
        return self

    def model(self):
        return self.net.model(*self.outputs)

    def sample(self) -> np.ndarray:
        return np.random.default_rng(0).standard_normal(self.net.shape).astype(np.float32)

    # One step each: (name, channels, sizes) of what was added, or None where nothing fits.

    def conv(self):
        name, channels, sizes = self.at
        style = self.pick("full", "full", "temporal", "spatial") if self.axes == 3 else "full"
        kernel = [int(self.rng.integers(1, 4)) for _ in sizes]
        if style == "temporal":
            kernel[1:] = [1, 1]
        elif style == "spatial":
            kernel[0] = 1
        kernel = [min(k, n) for k, n in zip(kernel, sizes, strict=True)]
        same = self.chance(0.6)
        begin = [k // 2 if same else int(self.rng.integers(0, k)) for k in kernel]
        end = [k - 1 - k // 2 if same else int(self.rng.integers(0, k)) for k in kernel]
        stride = [1 if same or k == 1 or self.chance(0.5) else 2 for k in kernel]
        groups, out = 1, int(self.rng.integers(1, 6))
        if channels > 1 and self.chance(0.3):
            groups = out = channels
        elif channels % 2 == 0 and self.chance(0.2):
            groups, out = 2, 2 * int(self.rng.integers(1, 4))
        result = [
            (n + b + e - k) // s + 1 for n, b, e, k, s in zip(sizes, begin, end, kernel, stride, strict=True)
        ]
        y = self.net.conv(
            name,
            out,
            channels,
            *kernel,
            groups=groups,
            bias=self.chance(0.4),
            pads=[*begin, *end],
            strides=stride,
            weight=self._weight(out, channels // groups, *kernel),
        )
        return self._perhaps_activated(y), out, result

    def pointwise(self):
        name, channels, sizes = self.at
        out = int(self.rng.integers(1, 7))
        kernel = [1] * self.axes
        weight = self._weight(out, channels, *kernel)
        y = self.net.conv(name, out, channels, *kernel, bias=self.chance(0.4), weight=weight)
        return self._perhaps_activated(y), out, sizes

    def _weight(self, out, into, *kernel):
        scale = 1 / np.sqrt(into * np.prod(kernel))
        return self.net.weight(array=self.rng.standard_normal((out, into, *kernel)) * scale)

    def _perhaps_activated(self, name):
        op = self.pick(None, None, None, "Relu", "Sigmoid", "Tanh", "Clip")
        if op == "Clip":
            return self.net.add(op, name, self.net.weight(array=0.0), self.net.weight(array=6.0))
        return name if op is None else self.net.add(op, name)

    def act(self):
        name, channels, sizes = self.at
        op = self.pick("Relu", "LeakyRelu", "HardSwish", "Softplus", "Abs", "Identity")
        return self.net.add(op, name), channels, sizes

    def scale(self):
        name, channels, sizes = self.at
        per = self.pick((channels, *[1] * self.axes), (1, channels, *[1] * self.axes), (1,))
        constant = self.net.weight(*per)
        inputs = (name, constant) if self.chance(0.7) else (constant, name)
        return self.net.add(self.pick("Add", "Mul", "Sub"), *inputs), channels, sizes

    def residual(self):
        name, channels, sizes = self.at
        same = [value for value in self.values if value[1:] == (channels, sizes)]
        other = self.pick(*same) if same else self.at
        return self.net.add(self.pick("Add", "Mul", "Max"), name, other[0]), channels, sizes

    def gate(self):
        name, channels, sizes = self.at
        y = self.net.add("GlobalAveragePool", name)
        weight = self._weight(channels, channels, *[1] * self.axes)
        y = self.net.add("Sigmoid", self.net.conv(y, channels, channels, *[1] * self.axes, weight=weight))
        return self.net.add("Mul", name, y), channels, sizes

    def pool(self):
        name, channels, sizes = self.at
        if min(sizes) < 3:
            return None
        op = self.pick("MaxPool", "AveragePool")
        kernel = [self.pick(1, 2, 2, 3) for _ in sizes]
        stride = [self.pick(k, k, 1) for k in kernel]
        pads = [0] * 2 * self.axes
        if self.chance(0.3) and max(kernel) > 1:
            pads = [int(k > 1 and i % self.axes > 0) for i, k in enumerate(kernel * 2)]
        result = [
            (n + pads[i] + pads[self.axes + i] - k) // s + 1
            for i, (n, k, s) in enumerate(zip(sizes, kernel, stride, strict=True))
        ]
        y = self.net.add(op, name, kernel_shape=kernel, strides=stride, pads=pads)
        return y, channels, result

    def join(self):
        name, channels, sizes = self.at
        same = [value for value in self.values if value[2] == sizes]
        other = self.pick(*same) if same else self.at
        if channels + other[1] > 10:
            return None
        return self.net.add("Concat", name, other[0], axis=1), channels + other[1], sizes

    def two_outputs(self):
        name, channels, sizes = self.at
        if channels < 2:
            return None
        first = f"split{len(self.net.nodes)}"
        split = self.net.weight(array=np.array([1, channels - 1], np.int64))
        self.net.add("Split", name, split, name=first, axis=1)
        self.net.nodes[-1].output.append(f"{first}_rest")
        self.values.append((f"{first}_rest", channels - 1, sizes))
        return first, 1, sizes
