"""The attention of one sampling pass: queries turned, keys and values stored, and only the filled slots read.

A few queries against a long cache leave a GPU idle unless the slots are divided among many programs (as in
flash-decoding). Every program finds out from the positions themselves how many slots are filled; the parts are put
together by a second kernel.

B pictures, G guidance halves, W codes read at once, Q = W·G queries, L cache slots, S splits, H heads, K head width,
P = K/2 rotated pairs, D width, R = B·Q rows.
"""

from __future__ import annotations

from math import log

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.editar.cache import LayerCache, Layout
from models.editar.transformer import Transformer

BLOCK = 64  # slots read at once
PROGRAMS = 264  # two for each of an H100's processors
MOST_SPLITS = 16


class KernelAttention:
    """What is the same in every pass."""

    def __init__(self, model: Transformer, layout: Layout, batch: int) -> None:
        c = model.config
        self.layout, self.heads, self.width = layout, c.n_head, c.head_dim
        self.log_text = log(c.cls_token_num)
        self.table_NP2 = model.rotary[-c.block_size :].contiguous()
        wanted = -(-PROGRAMS // (batch * c.n_head))
        self.splits = min(MOST_SPLITS, triton.next_power_of_2(wanted))

    def begin(self, places_BW: Tensor, length: int) -> KernelPass:
        """A pass that reads codes at given places of each picture; the length is seen from them."""
        return KernelPass(self, places_BW)


class KernelPass:
    """One pass; what it allocates serves one layer after another."""

    def __init__(self, fixed: KernelAttention, places_BW: Tensor) -> None:
        self.fixed, self.places_BW = fixed, places_BW.contiguous()
        self.slots_BQ = fixed.layout.slots(places_BW).flatten(1).int()
        batch, queries = self.slots_BQ.shape
        self.rows = batch * queries
        self.padded = max(16, triton.next_power_of_2(queries))  # tensor cores take 16 at least
        parts = (batch * fixed.heads, fixed.splits, self.padded)
        floats = {"dtype": torch.float32, "device": places_BW.device}
        self.best, self.total = torch.empty(parts, **floats), torch.empty(parts, **floats)
        self.sums = torch.empty((*parts, fixed.width), **floats)

    def __call__(self, cache: LayerCache, qkv_RD: Tensor) -> Tensor:
        """What the heads find, (R, D)."""
        fixed, layout = self.fixed, self.fixed.layout
        batch, queries = self.slots_BQ.shape
        q_BHQK = qkv_RD.new_empty(batch, fixed.heads, queries, fixed.width)
        y_RD = qkv_RD.new_empty(self.rows, fixed.heads * fixed.width)
        scales = cache.scales_2BH
        common = {
            "HEADS": fixed.heads,
            "QUERIES": queries,
            "HALVES": layout.halves,
            "WIDTH": fixed.width,
            "SCALED": scales is not None,
        }
        scales = self.best if scales is None else scales  # any address will do, it is not read
        _store[(self.rows, fixed.heads)](
            qkv_RD, fixed.table_NP2, self.places_BW, self.slots_BQ, q_BHQK, cache.keys,
            cache.values, scales, layout.length, batch,
            PAIRS=triton.next_power_of_2(fixed.width // 2), **common,
        )  # fmt: skip
        grid = (batch * fixed.heads, fixed.splits)
        sizes = {"PADDED": self.padded, "COLUMNS": triton.next_power_of_2(fixed.width)}
        _look[grid](
            q_BHQK, cache.keys, cache.values, scales, self.slots_BQ, self.best, self.total,
            self.sums, fixed.width**-0.5, fixed.log_text, layout.before, layout.length, batch,
            BLOCK=BLOCK, SPLITS=fixed.splits, **sizes, **common,
        )  # fmt: skip
        _join[(batch * fixed.heads,)](
            self.best, self.total, self.sums, y_RD,
            HEADS=fixed.heads, QUERIES=queries, WIDTH=fixed.width, SPLITS=fixed.splits, **sizes,
        )  # fmt: skip
        return y_RD


@triton.jit
def _store(
    qkv, table, places, slots, q, keys, values, scales, length, batch,
    HEADS: tl.constexpr, QUERIES: tl.constexpr, HALVES: tl.constexpr, WIDTH: tl.constexpr,
    SCALED: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """One row and head: turn query and key by the angles of their place, store them and the value."""
    row, head = tl.program_id(0), tl.program_id(1)
    picture, query = row // QUERIES, row % QUERIES
    pairs = tl.arange(0, PAIRS)
    real = pairs < WIDTH // 2
    place = tl.load(places + row // HALVES)
    cosine = tl.load(table + place * WIDTH + 2 * pairs, mask=real, other=0.0)
    sine = tl.load(table + place * WIDTH + 2 * pairs + 1, mask=real, other=0.0)
    source = qkv + (row * 3 * HEADS + head) * WIDTH + 2 * pairs
    a = tl.load(source, mask=real, other=0.0).to(tl.float32)
    b = tl.load(source + 1, mask=real, other=0.0).to(tl.float32)
    target = q + ((picture * HEADS + head) * QUERIES + query) * WIDTH + 2 * pairs
    tl.store(target, (a * cosine - b * sine).to(q.dtype.element_ty), mask=real)
    tl.store(target + 1, (a * sine + b * cosine).to(q.dtype.element_ty), mask=real)
    source += HEADS * WIDTH
    a = tl.load(source, mask=real, other=0.0).to(tl.float32)
    b = tl.load(source + 1, mask=real, other=0.0).to(tl.float32)
    # The model's own type first, as without kernels; then, if need be, the cache's.
    k_even = (a * cosine - b * sine).to(qkv.dtype.element_ty)
    k_odd = (a * sine + b * cosine).to(qkv.dtype.element_ty)
    source += HEADS * WIDTH
    v_even = tl.load(source, mask=real, other=0.0)
    v_odd = tl.load(source + 1, mask=real, other=0.0)
    if SCALED:
        of = picture * HEADS + head
        k_scale = tl.load(scales + of)
        v_scale = tl.load(scales + batch * HEADS + of)
        k_even = _limited(k_even.to(tl.float32) / k_scale)
        k_odd = _limited(k_odd.to(tl.float32) / k_scale)
        v_even = _limited(v_even.to(tl.float32) / v_scale)
        v_odd = _limited(v_odd.to(tl.float32) / v_scale)
    slot = tl.load(slots + row).to(tl.int64)  # a large cache has more than 2³¹ entries
    at = ((picture * HEADS + head) * length.to(tl.int64) + slot) * WIDTH + 2 * pairs
    tl.store(keys + at, k_even.to(keys.dtype.element_ty), mask=real)
    tl.store(keys + at + 1, k_odd.to(keys.dtype.element_ty), mask=real)
    tl.store(values + at, v_even.to(values.dtype.element_ty), mask=real)
    tl.store(values + at + 1, v_odd.to(values.dtype.element_ty), mask=real)


@triton.jit
def _limited(x):
    """To what float8 (e4m3) can hold."""
    return tl.minimum(tl.maximum(x, -448.0), 448.0)


@triton.jit
def _look(
    q, keys, values, scales, slots, best, total, sums, factor, log_text, before, length, batch,
    HEADS: tl.constexpr, QUERIES: tl.constexpr, HALVES: tl.constexpr, WIDTH: tl.constexpr,
    SCALED: tl.constexpr, BLOCK: tl.constexpr, SPLITS: tl.constexpr, PADDED: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    """One picture, head and part of the filled slots: a softmax that is not yet normalized."""
    item, split = tl.program_id(0), tl.program_id(1)
    picture = item // HEADS
    rows, columns = tl.arange(0, PADDED), tl.arange(0, COLUMNS)
    real, real_row = columns < WIDTH, rows < QUERIES
    slot = tl.load(slots + picture * QUERIES + rows, mask=real_row, other=0)
    end = tl.max(slot, 0) + 1
    part = tl.cdiv(tl.cdiv(end, SPLITS), BLOCK) * BLOCK
    first = split * part
    last = tl.minimum(first + part, end)
    q_QK = tl.load(
        q + (item * QUERIES + rows[:, None]) * WIDTH + columns[None, :],
        mask=real_row[:, None] & real[None, :],
        other=0.0,
    )
    if SCALED:
        k_scale = tl.load(scales + item)
        v_scale = tl.load(scales + batch * HEADS + item)
        factor = factor * k_scale
    origin = item.to(tl.int64) * length * WIDTH
    top = tl.full([PADDED], float("-inf"), tl.float32)
    mass = tl.zeros([PADDED], tl.float32)
    found = tl.zeros([PADDED, COLUMNS], tl.float32)
    for start in range(first, last, BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < last
        where = origin + at[:, None] * WIDTH + columns[None, :]
        mask = inside[:, None] & real[None, :]
        k = tl.load(keys + where, mask=mask, other=0.0).to(q_QK.dtype)
        v = tl.load(values + where, mask=mask, other=0.0).to(q_QK.dtype)
        logits = tl.dot(q_QK, tl.trans(k), input_precision="ieee") * factor
        shared = at < before
        text = (at >= before) & (at < before + HALVES)
        own = ((at - before) % HALVES)[None, :] == (rows % HALVES)[:, None]
        seen = shared[None, :] | (own & (at[None, :] <= slot[:, None]))
        logits = tl.where(text[None, :], logits + log_text, logits)
        logits = tl.where(seen & inside[None, :], logits, float("-inf"))
        higher = tl.maximum(top, tl.max(logits, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen so far
        weights = tl.exp(logits - level[:, None])
        kept = tl.exp(top - level)
        mass = mass * kept + tl.sum(weights, 1)
        found = found * kept[:, None]
        found += tl.dot(weights.to(q_QK.dtype), v, input_precision="ieee")
        top = higher
    if SCALED:
        found = found * v_scale
    to = (item * SPLITS + split) * PADDED + rows
    tl.store(best + to, top)
    tl.store(total + to, mass)
    tl.store(sums + to[:, None] * WIDTH + columns[None, :], found, mask=real[None, :])


@triton.jit
def _join(
    best, total, sums, y,
    HEADS: tl.constexpr, QUERIES: tl.constexpr, WIDTH: tl.constexpr, SPLITS: tl.constexpr,
    PADDED: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One picture and head: the parts in common units, normalized, in the order of the rows."""
    item = tl.program_id(0)
    rows, columns = tl.arange(0, PADDED), tl.arange(0, COLUMNS)
    top = tl.full([PADDED], float("-inf"), tl.float32)
    for split in range(SPLITS):
        top = tl.maximum(top, tl.load(best + (item * SPLITS + split) * PADDED + rows))
    mass = tl.zeros([PADDED], tl.float32)
    found = tl.zeros([PADDED, COLUMNS], tl.float32)
    for split in range(SPLITS):
        of = (item * SPLITS + split) * PADDED + rows
        kept = tl.exp(tl.load(best + of) - top)
        mass += kept * tl.load(total + of)
        part = tl.load(
            sums + of[:, None] * WIDTH + columns[None, :],
            mask=(columns < WIDTH)[None, :],
            other=0.0,
        )
        found += kept[:, None] * part
    row = (item // HEADS) * QUERIES + rows
    tl.store(
        y + (row[:, None] * HEADS + item % HEADS) * WIDTH + columns[None, :],
        (found / mass[:, None]).to(y.dtype.element_ty),
        mask=(rows < QUERIES)[:, None] & (columns < WIDTH)[None, :],
    )
