"""Products with weights of few bits, and SwiGLU's gate. R rows, M inputs, N outputs, F hidden width."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from models.editar.precision import WeightType, quantize

OUTPUTS, INPUTS, MOST_ROWS = (
    16,
    128,
    64,
)  # of one program; few outputs, so that all processors have work


class FewBits:
    """A matrix of which a step reads int8 or float8, one scale an output; sums are float32."""

    def __init__(self, weight_NM: Tensor, kind: WeightType) -> None:
        self.values_NM, self.scales_N = quantize(weight_NM, kind)

    def __call__(self, x_RM: Tensor) -> Tensor:
        """X Wᵀ, over the last axis."""
        return self._into(x_RM.new_empty(len(x_RM), len(self.scales_N)), x_RM, add=False)

    def onto(self, total_RN: Tensor, x_RM: Tensor) -> Tensor:
        """Add x Wᵀ to a sum, in place."""
        return self._into(total_RN, x_RM, add=True)

    def _into(self, y_RN: Tensor, x_RM: Tensor, add: bool) -> Tensor:
        rows, inputs = x_RM.shape
        outputs = len(self.scales_N)
        block = min(MOST_ROWS, max(16, triton.next_power_of_2(rows)))
        _product[(triton.cdiv(outputs, OUTPUTS), triton.cdiv(rows, block))](
            x_RM.contiguous(), self.values_NM, self.scales_N, y_RN, rows, outputs, inputs,
            ADD=add, ROWS=block, OUTPUTS=OUTPUTS, INPUTS=INPUTS, num_warps=4, num_stages=4,
        )  # fmt: skip
        return y_RN


def gated(gate_RF: Tensor, up_RF: Tensor) -> Tensor:
    """SwiGLU's silu(gate) · up; the gate's memory takes the result."""
    count, block = gate_RF.numel(), 1024
    _gated[(triton.cdiv(count, block),)](gate_RF, up_RF, count, BLOCK=block)
    return gate_RF


@triton.jit
def _product(
    x, values, scales, y, rows, outputs, inputs,
    ADD: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    some = tl.arange(0, INPUTS)
    real_row, real_output = row < rows, output < outputs
    sums = tl.zeros([ROWS, OUTPUTS], tl.float32)
    for start in range(0, inputs, INPUTS):
        column = start + some
        real = column < inputs
        x_RM = tl.load(
            x + row[:, None] * inputs + column[None, :],
            mask=real_row[:, None] & real[None, :],
            other=0.0,
        )
        w_NM = tl.load(
            values + output[:, None] * inputs + column[None, :],
            mask=real_output[:, None] & real[None, :],
            other=0.0,
        ).to(x_RM.dtype)
        sums += tl.dot(x_RM, tl.trans(w_NM), input_precision="ieee")
    sums *= tl.load(scales + output, mask=real_output, other=0.0)[None, :]
    to = y + row[:, None] * outputs + output[None, :]
    mask = real_row[:, None] & real_output[None, :]
    if ADD:
        sums += tl.load(to, mask=mask, other=0.0).to(tl.float32)
    tl.store(to, sums.to(y.dtype.element_ty), mask=mask)


@triton.jit
def _gated(gate, up, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    # In the model's type in between, as without kernels.
    g = (g / (1.0 + tl.exp(-g))).to(gate.dtype.element_ty).to(tl.float32)
    tl.store(gate + at, (g * u).to(gate.dtype.element_ty), mask=inside)
