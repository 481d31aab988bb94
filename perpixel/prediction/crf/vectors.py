"""Vectors of eight float32 inside numba functions. Loops over classes are so short that the compiler does not use vectors by
itself.

`EIGHT` is the type of a value of eight numbers. It lies in one vector register where the processor has registers of 256 bits,
elsewhere in two registers of 128 bits. `place` is an index into a flat float32 array and is not checked.

numba's cache looks only at the file of a function: after a change here delete `perpixel/__pycache__`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, njit, types
from numba.core import cgutils
from numba.extending import models, register_model
from numpy.typing import NDArray

FLOAT, INT = ir.FloatType(), ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()
VECTOR, INTS = ir.VectorType(FLOAT, 8), ir.VectorType(INT, 8)


def empty(size: int) -> NDArray[np.float32]:
    """A flat float32 array that begins at a cache line, so that no vector of it lies in two lines."""
    room = np.empty(size + 16, np.float32)
    skip = -room.ctypes.data % 64 // 4
    return room[skip : skip + size]


class _Eight(types.Type):
    def __init__(self) -> None:
        super().__init__("eight")


EIGHT = _Eight()


def intrinsic(function: Callable[..., Any]) -> Any:
    """numba's decorator, typed so that the decorated function may be called without `typing`."""
    return extending.intrinsic(function)


@register_model(_Eight)
class _EightModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)  # type: ignore[no-untyped-call]


def _spread(builder: Any, number: Any) -> Any:
    """A vector with the same number eight times."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, ir.Constant(INT, 0))
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), ir.Constant(INTS, [0] * 8))


def _constant(number: float) -> Any:
    return ir.Constant(VECTOR, [number] * 8)


def _multiply_add(builder: Any, one: Any, other: Any, summand: Any) -> Any:
    """one * other + summand, in one instruction where the processor has this instruction."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.v8f32"), [one, other, summand])


def _address(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), VECTOR.as_pointer())


@intrinsic
def load(typing: Any, array: Any, place: Any) -> Any:
    """array[place : place + 8]."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return EIGHT(array, types.intp), code


@intrinsic
def store(typing: Any, array: Any, place: Any, eight: Any) -> Any:
    """array[place : place + 8] = eight."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature.args[0], *arguments[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, EIGHT), code


@intrinsic
def fetch(typing: Any, array: Any, place: Any) -> Any:
    """Fetches array[place] into the cache, because it is needed soon."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), BYTES)
        kind = ir.FunctionType(ir.VoidType(), [BYTES, INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, INT(1), INT(3), INT(1)])  # to write, keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), code


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """A value with the same number eight times."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return EIGHT(types.float32), code


@intrinsic
def add(typing: Any, one: Any, other: Any) -> Any:
    """one + other."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fadd(*arguments)

    return EIGHT(EIGHT, EIGHT), code


@intrinsic
def add_scaled(typing: Any, sums: Any, scale: Any, eight: Any) -> Any:
    """sums + scale * eight."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _multiply_add(builder, _spread(builder, arguments[1]), arguments[2], arguments[0])

    return EIGHT(EIGHT, types.float32, EIGHT), code


@intrinsic
def larger(typing: Any, one: Any, other: Any) -> Any:
    """The larger number at each of the eight places."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return EIGHT(EIGHT, EIGHT), code


@intrinsic
def item(typing: Any, eight: Any, place: Any) -> Any:
    """One of the eight numbers, by its place 0..7."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], INT))

    return types.float32(EIGHT, types.intp), code


ROUND = 1.5 * 2**23  # adding it to a small float32 leaves the nearest whole number in the lowest bits
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440e-4  # ln 2 as a short number and the rest, so that n * ln 2 is exact enough
SERIES = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0)
SMALLEST = -50.0  # e^-50 = 2e-22: below it exp is 0, so that no later product is a denormal number, which is slow


@intrinsic
def exp(typing: Any, eight: Any) -> Any:
    """e to the power of eight numbers of 0 or less, with a relative error of 3e-7; 0 below `SMALLEST`.

    x = n ln 2 + r with |r| <= ln 2 / 2; Taylor's series for e^r, and n is added to the exponent's bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x = arguments[0]
        known = builder.fcmp_ordered(">", x, _constant(SMALLEST))
        x = builder.select(known, x, _constant(SMALLEST))
        shifted = builder.fadd(builder.fmul(x, _constant(1.4426950408889634)), _constant(ROUND))
        n = builder.fsub(shifted, _constant(ROUND))
        r = builder.fsub(builder.fsub(x, builder.fmul(n, _constant(LN2_HIGH))), builder.fmul(n, _constant(LN2_LOW)))
        power = _constant(SERIES[0])
        for factor in SERIES[1:]:
            power = _multiply_add(builder, power, r, _constant(factor))
        exponent = builder.shl(builder.bitcast(shifted, INTS), ir.Constant(INTS, [23] * 8))
        value = builder.bitcast(builder.add(builder.bitcast(power, INTS), exponent), VECTOR)
        return builder.select(known, value, _constant(0.0))

    return EIGHT(EIGHT), code


@njit(nogil=True, inline="always")
def add_rows(target: Any, at: Any, source: Any, rows: Any, scales: Any, start: Any, stop: Any, width: Any) -> None:
    """target[at : at + width] += the sum over i in start..stop of scales[i] * row rows[i] of `source`; rows of `width` numbers.

    Six sums are computed side by side, because each addition to a sum must wait for the one before."""
    column = 0
    while column + 24 <= width:
        a, b, c = load(target, at + column), load(target, at + column + 8), load(target, at + column + 16)
        d, e, f = spread(0), spread(0), spread(0)
        for i in range(start, stop - 1, 2):
            place, scale = rows[i] * width + column, scales[i]
            a = add_scaled(a, scale, load(source, place))
            b = add_scaled(b, scale, load(source, place + 8))
            c = add_scaled(c, scale, load(source, place + 16))
            place, scale = rows[i + 1] * width + column, scales[i + 1]
            d = add_scaled(d, scale, load(source, place))
            e = add_scaled(e, scale, load(source, place + 8))
            f = add_scaled(f, scale, load(source, place + 16))
        if (stop - start) % 2:
            place, scale = rows[stop - 1] * width + column, scales[stop - 1]
            a = add_scaled(a, scale, load(source, place))
            b = add_scaled(b, scale, load(source, place + 8))
            c = add_scaled(c, scale, load(source, place + 16))
        store(target, at + column, add(a, d))
        store(target, at + column + 8, add(b, e))
        store(target, at + column + 16, add(c, f))
        column += 24
    while column < width:
        a = load(target, at + column)
        for i in range(start, stop):
            a = add_scaled(a, scales[i], load(source, rows[i] * width + column))
        store(target, at + column, a)
        column += 8


@njit(nogil=True, inline="always")
def add_line(target: Any, at: Any, source: Any, row: Any, step: Any, scales: Any, start: Any, stop: Any, width: Any) -> None:
    """As `add_rows`, for the rows `row`, `row` + step, `row` + 2 step and so on."""
    column = 0
    while column + 24 <= width:
        a, b, c = load(target, at + column), load(target, at + column + 8), load(target, at + column + 16)
        d, e, f = spread(0), spread(0), spread(0)
        place = row * width + column
        for i in range(start, stop - 1, 2):
            a = add_scaled(a, scales[i], load(source, place))
            b = add_scaled(b, scales[i], load(source, place + 8))
            c = add_scaled(c, scales[i], load(source, place + 16))
            place += step * width
            d = add_scaled(d, scales[i + 1], load(source, place))
            e = add_scaled(e, scales[i + 1], load(source, place + 8))
            f = add_scaled(f, scales[i + 1], load(source, place + 16))
            place += step * width
        if (stop - start) % 2:
            a = add_scaled(a, scales[stop - 1], load(source, place))
            b = add_scaled(b, scales[stop - 1], load(source, place + 8))
            c = add_scaled(c, scales[stop - 1], load(source, place + 16))
        store(target, at + column, add(a, d))
        store(target, at + column + 8, add(b, e))
        store(target, at + column + 16, add(c, f))
        column += 24
    while column < width:
        a = load(target, at + column)
        place = row * width + column
        for i in range(start, stop):
            a = add_scaled(a, scales[i], load(source, place))
            place += step * width
        store(target, at + column, a)
        column += 8
