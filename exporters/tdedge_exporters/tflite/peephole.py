"""Two exact clean-ups of a finished program: activations inside the operator before them, no dead code."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from tdedge_exporters.tflite.program import Op, Program

_Activation = schema.ActivationFunctionType

#: Activations an operator can apply to its own result.
ACTIVATIONS = {
    "RELU": _Activation.RELU,
    "RELU6": _Activation.RELU6,
    "RELU_N1_TO_1": _Activation.RELU_N1_TO_1,
}

#: Operators that can.
_FUSING = {
    *("ADD", "AVERAGE_POOL_2D", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "DIV", "FULLY_CONNECTED"),
    *("MAX_POOL_2D", "MUL", "SUB"),
}


def clean(program: Program) -> None:
    """Fuse activations and drop operators nobody reads, in place."""
    _fuse(program)
    _drop_dead(program)


def _fuse(program: Program) -> None:
    """``y = relu(conv(x))`` as one operator where nothing else reads ``conv(x)``."""
    makers, uses = program.producers(), program.uses()
    kept: list[Op] = []
    for op in program.ops:
        data = op.inputs[0]
        maker = makers.get(data) if op.code in ACTIVATIONS and data is not None else None
        if maker is not None and data is not None and _can_fuse(maker) and uses[data] == 1:
            maker.options.fusedActivationFunction = ACTIVATIONS[op.code]
            maker.outputs = op.outputs
            makers[op.outputs[0]] = maker
        else:
            kept.append(op)
    program.ops = kept


def _can_fuse(op: Op) -> bool:
    return op.code in _FUSING and op.options.fusedActivationFunction == _Activation.NONE


def _drop_dead(program: Program) -> None:
    needed = {tensor for _, tensor in program.outputs}
    kept = []
    for op in reversed(program.ops):
        if any(tensor in needed for tensor in op.outputs):
            needed.update(tensor for tensor in op.inputs if tensor is not None)
            kept.append(op)
    program.ops = kept[::-1]
