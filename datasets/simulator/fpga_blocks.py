"""What one hls4ml-like block costs: a layer as hardware of its own, at a reuse factor, a precision and a strategy.

The structure is that of hls4ml's Vivado templates (Duarte et al., JINST 13 P07027, 2018; Aarrestad et al., "Fast convolutional neural
networks on FPGAs with hls4ml", 2021; `nnet_dense_latency.h`, `nnet_dense_resource.h`):

* **latency**: all products of a position are unrolled with the weights as constants in logic. Products with 0 and with powers of two vanish; a
  product with a constant of two signed digits is one adder; others are a DSP slice when wide enough. A reuse factor bounds the DSP slices.
* **resource**: weights in block RAM, reshaped so that one word holds a weight for every multiplier; `products / reuse` multipliers work `reuse`
  turns. Up to `reuse = n_in` each multiplier belongs to one output; beyond, every multiplier picks its input and its accumulator.

What a construct costs follows from the fabric: a LUT is a 4:1 multiplexer bit or one bit of an adder (UltraScale CLB, UG574), a block RAM is
512 x 36 to 16384 x 1 (UG573), a shift register of 32 is a LUT, a DSP48E2 multiplies 27 x 18 bits (UG579). What does not follow is marked as an
assumption; docs/fpga.md lists those that were read off one half of the open hls4ml table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..columns import OpColumns, element_bytes
from ..dtypes import DTYPE_CODES, DTYPE_NAMES
from ..ops import KIND_CODES

#: dtype code -> bits a fabric computes it in
FABRIC_BITS = np.array([{"int8": 8.0, "int4": 4.0, "int2": 2.0, "float8": 8.0, "float4": 4.0, "bool": 1.0}.get(d, 16.0) for d in DTYPE_NAMES])
#: dtype code -> code of the format a fabric computes it in: floating point becomes 16-bit fixed point
FABRIC_DTYPE = np.array([DTYPE_CODES[d if d.startswith("int") or d == "bool" or b < 16 else "int16"] for d, b in zip(DTYPE_NAMES, FABRIC_BITS, strict=True)])
#: a product of fewer bits, both operands together, goes to look-up tables. Vivado HLS's choice: hls4ml's documentation says operands "below about 10 bits"
#: (Coelho et al., Nature Machine Intelligence 3, 2021); that 16 x 6 is a DSP slice and 16 x 4 is not was read off one half of the open hls4ml table
PRODUCT_BITS_ON_DSP = 22.0
#: the same for two operands of one width: from this width on a product is a DSP slice
DSP_FROM_BITS = PRODUCT_BITS_ON_DSP / 2
#: a product whose wider operand has more bits takes two slices: the longer port of a DSP48E2 (UG579)
_DSP_PORT_BITS = 27.0
BRAM_BITS, BRAM_PORT_BITS, URAM_BITS = 18432.0, 36.0, 294912.0
#: depth up to which a block RAM of 18 kbit is so many bits wide (UG573)
_BRAM_SHAPES = ((512.0, 36.0), (1024.0, 18.0), (2048.0, 9.0), (4096.0, 4.0), (8192.0, 2.0), (16384.0, 1.0))
#: arrays of fewer bits are look-up tables (Vivado HLS's threshold of automatic storage)
_LUTRAM_BELOW_BITS = 1024.0
#: products side by side from which synthesis fails: hls4ml's build script says `config_array_partition -maximum_size 4096`, and in the open hls4ml
#: table every design of exactly 4,096 failed too
UNROLL_LIMIT = 4096.0
#: share of the clock period Vivado HLS plans with: its uncertainty is 12.5 % unless told (UG902)
_USABLE_PERIOD = 0.875
#: ns of a 16-bit adder and of an unregistered product on UltraScale+ (assumptions)
_ADD_NS, _PRODUCT_NS = 0.75, 2.0
#: steps of a shift register or FIFO up to which it is look-up tables (assumption: two SRL32)
_SHIFT_STEPS = 64.0
#: LUT per bit of picking one of many packed inputs by a run-time index, and LUT of that path whatever its width (assumption: Vivado HLS builds a shifter
#: over the whole packed vector; both figures were read off one half of the open hls4ml table, and nothing structural explains the second)
_SHIFTER_LUT_PER_BIT, _SHIFTER_LUT = 2.0, 4600.0
#: LUT per accumulator bit beside its adders: select the bias or the running sum, and hold (assumption)
_ACCUMULATOR_LUT_PER_BIT = 1.5
#: loop counters and indices are C integers: three of 32 bits and a few states (assumption)
_COUNTER_FF = 108.0
#: cycles of a pipelined reuse loop beyond its turns: fetch, multiply, accumulate, hand on (assumption)
_LOOP_STAGES = 3.0
#: stages of an unpipelined schedule that shares DSP slices beyond its turns (assumption)
_SHARED_STAGES = 6.0
#: a look-up table of a sigmoid, tanh, exponential or reciprocal: 1024 entries of 18 bits (hls4ml's default), one block RAM, read through two ports
_TABLE_READS = 2.0
#: vector operations an element from which a function is a table rather than arithmetic: exponentials and what contains them
_TABLE_FROM_COST = 8.0
#: bytes an elementwise, pooling or normalising block takes from a stream in a cycle (assumption)
_VECTOR_BYTES_PER_CYCLE = 64.0


def product_luts(a_bits: np.ndarray, w_bits: np.ndarray) -> np.ndarray:
    """Look-up tables of an a x w bit multiplier on the carry chains: one row of adders for each further bit of the narrower operand."""
    narrow, wide = np.minimum(a_bits, w_bits), np.maximum(a_bits, w_bits)
    return wide * np.maximum(narrow - 1.0, 0.5)


def luts_per_multiplier(bits: np.ndarray) -> np.ndarray:
    """Look-up tables of one multiplier and its accumulator of twice the width; a wide product is a DSP slice and leaves only the accumulator."""
    return np.where(bits >= DSP_FROM_BITS, 0.0, product_luts(bits, bits)) + 2.0 * bits


def mux_luts(ways: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Look-up tables of a multiplexer of `ways` words of `bits`: 4:1 a LUT, in a tree over the next power of two (UG574)."""
    return np.where(ways <= 1, 0.0, bits * np.maximum((2.0 ** np.ceil(np.log2(np.maximum(ways, 1.0))) - 1.0) / 3.0, 0.5))


def block_rams(depth: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Block RAMs of 18 kbit for a memory of `depth` words of `width` bits, in the widest shape that is deep enough; none for a small one."""
    at = np.select([depth <= d for d, _ in _BRAM_SHAPES], [w for _, w in _BRAM_SHAPES], 1.0)
    return np.where(depth * width < _LUTRAM_BELOW_BITS, 0.0, np.ceil(width / at) * np.ceil(np.maximum(depth, 1.0) / _BRAM_SHAPES[-1][0]))


@lru_cache(maxsize=4096)
def constant_shares(bits: int, integer_bits: int, limit: float, data_bits: int) -> tuple[float, float, float]:
    """(share on DSP slices, share not zero, LUT per product for further adders) of products with constants.

    The constants are uniform in +-`limit`, cut to fixed point of `bits` with `integer_bits` before the point. A constant of d signed digits
    (canonical recoding) is d - 1 adders; Vivado HLS gives three and more to a DSP slice when the product, trailing zeros dropped, is wide enough.
    """
    steps = 2.0 ** (bits - integer_bits)
    edges = np.arange(np.floor(-limit * steps), np.floor(limit * steps) + 1)
    weight = np.clip(np.minimum((edges + 1) / steps, limit) - np.maximum(edges / steps, -limit), 0.0, None)
    weight /= weight.sum()
    size = np.abs(edges).astype(np.int64)
    digits = np.bitwise_count(size ^ (3 * size)).astype(np.float64)
    odd = np.where(size > 0, size // np.maximum(size & -size, 1), 0)
    width = np.where(odd > 0, np.floor(np.log2(np.maximum(odd, 1))) + 1.0, 0.0)
    dsp = (digits >= 3) & (width + 1.0 + data_bits >= PRODUCT_BITS_ON_DSP)
    adders = np.where(dsp, 0.0, np.maximum(digits - 1.0, 0.0) * (data_bits + width))
    return float((weight * dsp).sum()), float((weight * (size > 0)).sum()), float((weight * adders).sum())


@dataclass(frozen=True)
class Blocks:
    """n kernels as blocks, (n,) arrays: a matrix block has `inputs` x `outputs` products a position (`inputs` per output), the others stream elements."""

    matrix: np.ndarray           # bool
    inputs: np.ndarray           # reduction length: channels x window of a convolution
    outputs: np.ndarray          # results a position
    positions: np.ndarray        # pixels (of a streamed convolution, of its input), rows, time steps; of another block, words of the stream
    serial: np.ndarray           # bool: the next position waits for this one's result (recurrent)
    weight_bits: np.ndarray
    data_bits: np.ndarray
    sum_bits: np.ndarray         # accumulator
    kept: np.ndarray             # share of the weights that are not zero
    stored: np.ndarray           # weights (or second operands) the block keeps
    lanes: np.ndarray            # elements handed on side by side
    lookups: np.ndarray          # tables of functions read by each lane
    work: np.ndarray             # vector operations a position of a block without products
    window: np.ndarray           # kernel area
    scaled: np.ndarray           # bool: every lane has a multiplication of its own (normalisation)
    line_bits: np.ndarray        # of a streamed sliding window: bits of one column of the rows it keeps, kernel height less one
    line_pixels: np.ndarray      # pixels in a row of its input
    row_pixels: np.ndarray       # positions in a row of the output
    limit: float = 0.0           # largest |weight|; 0: not known, every product counts as a general one
    integer_bits: int = 1

    @property
    def products(self) -> np.ndarray:
        """(n,) multiplications a position; 1 for a block without."""
        return np.where(self.matrix, self.inputs * self.outputs, 1.0)

    @classmethod
    def of(cls, ops: OpColumns, weight_bits: np.ndarray, data_bits: np.ndarray, sum_bits: np.ndarray, stream: bool, limit: float = 0.0,
           integer_bits: int = 1) -> Blocks:
        """The kernels as blocks at the given precision ((n,) bits each); without `stream` a block without products takes all its elements at once."""
        matrix = ops.matrix_flops > 0
        recurrent, softmax = ops.kind == KIND_CODES["recurrent"], ops.kind == KIND_CODES["softmax"]
        outputs = np.where(recurrent, ops.n, np.maximum(ops.b * ops.n, 1.0))
        words = np.maximum(np.ceil(ops.output_bytes / _VECTOR_BYTES_PER_CYCLE), 1.0) if stream else np.ones(len(ops))
        positions = np.where(matrix, np.maximum(np.where(recurrent, ops.b * ops.m, ops.m), 1.0), words)
        # channels of a pooling are those of the convolution before it; images are square (the columns keep no shape)
        before = np.maximum.accumulate(np.where(matrix, np.arange(len(matrix)), -1)) if len(matrix) else np.zeros(0, dtype=np.int64)
        channels = np.where(matrix, ops.b * ops.k / np.maximum(ops.window, 1.0), np.where(before >= 0, outputs[before], 1.0))
        pixels = np.maximum(np.round(ops.input_bytes / np.maximum(element_bytes(ops.dtype) * channels, 1e-9)), 1.0)
        if stream:  # a sliding window shifts in every pixel of its input, one a turn, whether or not an output leaves (`nnet_conv2d_stream.h`)
            positions = np.where((ops.kind == KIND_CODES["conv"]) | (ops.kind == KIND_CODES["pool"]), np.maximum(positions, pixels), positions)
        elements = np.maximum(ops.output_bytes * 8.0 / FABRIC_BITS[ops.dtype], 1.0)
        lanes = np.where(matrix, outputs, np.ceil(elements / positions))
        costly = ops.vector_flops / np.maximum(elements, 1.0) >= _TABLE_FROM_COST
        sliding = stream & (ops.window > 1)
        return cls(
            matrix=matrix, inputs=np.where(matrix, np.maximum(ops.k, 1.0), 1.0), outputs=np.where(matrix, outputs, 1.0), positions=positions, serial=recurrent,
            weight_bits=weight_bits, data_bits=data_bits, sum_bits=sum_bits, kept=np.where(ops.param_bytes > 0, ops.density, 1.0),
            stored=np.where(matrix, np.where(recurrent, ops.n * ops.k, ops.b * ops.n * ops.k), 0.0), lanes=lanes,
            lookups=(costly | recurrent | softmax).astype(np.float64), work=np.where(matrix, 0.0, ops.vector_flops / positions),
            window=ops.window, scaled=ops.kind == KIND_CODES["norm"], line_bits=np.where(sliding, channels * data_bits * (np.sqrt(ops.window) - 1.0), 0.0),
            line_pixels=np.sqrt(pixels), row_pixels=np.sqrt(np.maximum(ops.m, 1.0)),
            limit=limit, integer_bits=integer_bits)


@dataclass(frozen=True)
class BlockCosts:
    """(..., n) arrays: look-up tables, flip-flops, DSP slices, block RAMs of 18 kbit; cycles to the first result of a position, and cycles
    the block is busy with one input of the network; multiplications side by side (to hold against `UNROLL_LIMIT`)."""

    lut: np.ndarray
    ff: np.ndarray
    dsp: np.ndarray
    bram_18k: np.ndarray
    first: np.ndarray
    busy: np.ndarray
    unrolled: np.ndarray


def block_costs(blocks: Blocks, reuse: np.ndarray, latency_strategy: np.ndarray, stream: bool, clock_hz: float) -> BlockCosts:
    """The blocks at `reuse` (..., n), `latency_strategy` (broadcast; a reuse of 1 is always that: no weight is read twice), at a clock in Hz."""
    c = blocks
    matrix, products = c.matrix, c.products
    reuse = np.where(matrix, np.clip(reuse, 1.0, products), 1.0)
    in_logic = matrix & (latency_strategy | (reuse <= 1.0))
    parallel = np.ceil(products / reuse)
    usable_ns = 1e9 / clock_hz * _USABLE_PERIOD
    w, a, s = c.weight_bits, c.data_bits, c.sum_bits
    wide = (w + a >= PRODUCT_BITS_ON_DSP) & (np.minimum(w, a) > 1.0)
    slices = np.where(np.maximum(w, a) > _DSP_PORT_BITS, 2.0, 1.0)

    # constants in logic: what survives of every product, and DSP slices shared `reuse` times
    on_dsp, nonzero, adder_lut = _shares(c, wide)
    dsp_products = np.where(matrix, products * on_dsp * c.kept, 0.0)
    bound = np.where(reuse > 1, np.minimum(dsp_products, parallel), dsp_products)
    turns = np.where(bound > 0, np.ceil(dsp_products / np.maximum(bound, 1.0)), 1.0)
    shared = in_logic & (turns > 1)
    tree = np.ceil(np.log2(np.maximum(c.inputs, 2.0)))
    logic_ns = np.where(on_dsp > 0, _PRODUCT_NS, np.where(adder_lut > 0, _ADD_NS, 0.0)) + tree * _ADD_NS
    logic_stages = np.maximum(np.ceil(logic_ns / usable_ns), 1.0)
    logic_lut = products * c.kept * (nonzero * s + adder_lut) + c.outputs * s * _ACCUMULATOR_LUT_PER_BIT
    logic_ff = c.outputs * s * (1.0 + _cuts(logic_ns, logic_stages, usable_ns, c.inputs)) + np.where(shared, dsp_products * s, 0.0)

    # weights in block RAM
    beyond = reuse > c.inputs                                   # a multiplier serves several outputs
    several = np.ceil(reuse / c.inputs)                         # outputs a multiplier serves
    even = np.mod(reuse, c.inputs) == 0
    pick_sum = np.where(several > 2, mux_luts(c.outputs, s), mux_luts(several, s))
    side_by_side = np.ceil(c.inputs / reuse)                    # inputs read at once
    shifters = np.where(even, 1.0, parallel)                    # inputs out of step with the outputs: every multiplier picks its own
    pick_in = np.where(beyond, shifters * (_SHIFTER_LUT_PER_BIT * a * c.inputs) + _SHIFTER_LUT, side_by_side * mux_luts(reuse, a))
    ram_lut = pick_in + c.outputs * s * _ACCUMULATOR_LUT_PER_BIT + parallel * (np.where(beyond, pick_sum, 0.0) + s + np.where(wide, 0.0, product_luts(a, w)))
    ram_ns = np.where(beyond, 0.0, np.ceil(np.log2(np.maximum(side_by_side, 1.0))) * _ADD_NS)
    ram_stages = np.ceil(ram_ns / usable_ns)
    ram_ff = c.outputs * s + parallel * np.where(wide, s, w) + _COUNTER_FF + c.outputs * s * _cuts(ram_ns, ram_stages + 1.0, usable_ns, side_by_side)
    spare = np.floor(-np.log2(c.limit)) if 0 < c.limit < 1 else 0.0   # redundant sign bits: Vivado HLS drops them from the top of the word
    top_bits = np.maximum(w - spare, 1.0)
    ram_dsp = np.where(wide, parallel - np.where(top_bits + a < PRODUCT_BITS_ON_DSP, 1.0, 0.0), 0.0)
    ram = block_rams(reuse, parallel * w * np.where(matrix, 1.0, 0.0) - spare)
    index = np.where(beyond & even, block_rams(reuse, np.ceil(np.log2(np.maximum(several, 1.0)))), 0.0)

    # what is not a product: functions by table, element work, sliding windows, FIFOs
    lanes = np.ceil(c.lanes / reuse)
    softmax_like = ~matrix & (c.lookups > 0)
    tables = np.where(c.lookups > 0, np.ceil(lanes / _TABLE_READS) + np.where(softmax_like, 1.0, 0.0), 0.0)
    fifo_bits = c.lanes * a * stream
    fifo_lut, fifo_ram = _queue(np.where(c.positions > 1, c.row_pixels, 2.0), fifo_bits)
    line_lut, line_ram = _queue(c.line_pixels, c.line_bits)
    window_ff = np.where(c.window > 1, c.inputs * a, 0.0)

    stages = np.where(in_logic, np.where(shared, turns + _SHARED_STAGES, logic_stages + (reuse > 1)), reuse + _LOOP_STAGES + ram_stages)
    plain = 2.0 + np.where(softmax_like, 2.0 + np.ceil(np.log2(np.maximum(c.lanes, 2.0)) * _ADD_NS / usable_ns), 0.0)
    first = np.where(matrix, stages + np.where(c.lookups > 0, 2.0, 0.0), plain) + 2.0 * stream
    # a pipelined block takes the next position after `reuse` cycles; one that shares DSP slices in logic is not pipelined; a recurrent one waits
    step = np.where(in_logic & (reuse > 1), first, reuse)
    step = np.where(c.serial, first, step)
    return BlockCosts(
        lut=np.where(matrix, np.where(in_logic, logic_lut, ram_lut), c.work * a) + fifo_lut + line_lut,
        ff=np.where(matrix, np.where(in_logic, logic_ff, ram_ff), c.work * a) + window_ff + fifo_bits,
        dsp=np.where(matrix, np.where(in_logic, np.ceil(bound), ram_dsp) * slices, np.where(softmax_like | (c.scaled & wide), lanes, 0.0)),
        bram_18k=np.where(matrix & ~in_logic, ram + index, 0.0) + tables + line_ram + fifo_ram,
        first=first, busy=c.positions * step, unrolled=np.where(in_logic, products, np.where(matrix, parallel, 0.0)))


def valid_reuse(inputs: int, outputs: int) -> np.ndarray:
    """The reuse factors hls4ml accepts without rounding, in order: divisors of the inputs, and the inputs times a divisor of the outputs."""
    return np.unique(np.concatenate([divisors(inputs), float(inputs) * divisors(outputs)]))


@lru_cache(maxsize=4096)
def divisors(number: int) -> np.ndarray:
    """The divisors of a number, in order; of one above 2**40 only those up to 2**20 and their counterparts."""
    small = np.arange(1, min(int(np.sqrt(float(number))), 2**20) + 1)
    small = small[number % small == 0]
    return np.unique(np.concatenate([small, number // small])).astype(np.float64)


def _shares(c: Blocks, wide: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per block: share of products on DSP slices, share that is not zero, LUT per product for constants of several digits."""
    if c.limit <= 0:
        return wide.astype(np.float64), np.ones(len(wide)), np.where(wide, 0.0, product_luts(c.data_bits, c.weight_bits))
    found = [constant_shares(int(w), c.integer_bits, c.limit, int(a)) for w, a in zip(c.weight_bits, c.data_bits, strict=True)]
    dsp, nonzero, adders = (np.array(column) for column in zip(*found, strict=True))
    return dsp, nonzero, adders


def _queue(depth: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(LUT, block RAMs) of a shift register or FIFO: a LUT holds 32 steps of a bit (SRL32, UG574); a deep one is a block RAM."""
    ram = np.where(depth > _SHIFT_STEPS, block_rams(depth, width), 0.0)
    return np.where(ram > 0, 0.0, width * np.ceil(depth / 32.0)), ram


def _cuts(total_ns: np.ndarray, stages: np.ndarray, usable_ns: float, inputs: np.ndarray) -> np.ndarray:
    """Values alive per output at the registers inside an adder tree: 2^r where r levels of adders are still to come, at each cut."""
    levels = np.floor(usable_ns / _ADD_NS)
    last = np.ceil(np.maximum(total_ns - (stages - 1.0) * usable_ns, 0.0) / _ADD_NS)
    alive = np.zeros(np.broadcast_shapes(np.shape(stages), np.shape(inputs)))
    for cut in range(6):  # a tree of 2^30 leaves has no more
        alive = alive + np.where(cut < stages - 1.0, np.minimum(2.0 ** np.minimum(last + cut * levels, 60.0), inputs), 0.0)
    return alive
