"""MLIR text -> xdsl operations, those of StableHLO, CHLO and of linalg that xdsl does not know among them.

xdsl parses the builtin, func, arith, math, tensor, memref, scf, linalg and affine dialects. StableHLO prints its operators in forms of its own
(https://openxla.org/stablehlo/spec; `stablehlo.dot_general %0, %1, contracting_dims = [2] x [0] : ...`): here one loose grammar reads them all, operands,
words, lists and attributes, into a dict, `said`:
named parts by name ("dims": [1, 0]), bare words under "words", lists under "lists"; whoever counts an operator looks up there what it needs (`said_of`). Generic form needs no grammar of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from xdsl.context import Context
from xdsl.dialects.builtin import Attribute, Builtin, ModuleOp, UnregisteredAttr, UnregisteredOp
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.universe import Universe
from xdsl.utils.exceptions import ParseError

from ..errors import FormatError

#: dialects that xdsl reads; any other only in generic form, or by the loose grammar
DIALECTS = ("arith", "math", "func", "tensor", "memref", "scf", "linalg", "affine")
LOOSE = ("stablehlo.", "chlo.", "linalg.", "mhlo.", "sdy.")
#: bytes of text, brackets in brackets: files that have more mean to hurt
MOST_BYTES, MOST_DEPTH = 2**26, 64
#: a comment, or a string with the escapes MLIR has
_QUOTED = r'//[^\n]*|"(?:[^"\\\n\v\f]|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*(")'


class Dialects(Context):
    """A context in which what is not registered is read by the loose grammar."""

    def __init__(self) -> None:
        super().__init__(allow_unregistered=True)
        self.load_dialect(Builtin)
        known = Universe.get_multiverse().all_dialects
        for name in DIALECTS:
            self.register_dialect(name, known[name])
        self._loose: dict[str, type[Operation]] = {}

    def get_optional_op(self, name: str, *, dialect_stack: Any = ()) -> type[Operation] | None:
        """The class of an operation, a loose one for those that nobody registered."""
        if name in self._loose:
            return self._loose[name]
        found = super().get_optional_op(name, dialect_stack=dialect_stack)
        if found is not None and issubclass(found, UnregisteredOp) and "." not in name and dialect_stack and f"{dialect_stack[-1]}." in LOOSE:
            name = f"{dialect_stack[-1]}.{name}"
        if found is None or not issubclass(found, UnregisteredOp) or not name.startswith(LOOSE):
            return found
        base = UnregisteredOp.with_name(name)
        made = type("LooseOp", (base,), {"parse": classmethod(lambda cls, parser: _parse(cls, name, parser)), "said": {}})
        return self._loose.setdefault(name, made)


def parse(path: Path) -> ModuleOp:
    """The module in a file. Raises FormatError naming the file, and line and column where xdsl names them."""
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise FormatError(f"{path}: {len(data)} bytes of text; expected at most {MOST_BYTES}")
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a readable text file ({error})") from None
    for found in re.finditer(_QUOTED + "?", text):
        if found.group().startswith('"') and found.group(1) is None:  # xdsl's lexer would seek its end for ever
            raise FormatError(f"{path}: {_line(text, found.start())}: a string that does not end, or with an escape that MLIR does not have")
    depth = 0
    for bracket in re.finditer(r"[({\[<]|[)}\]]|(?<!-)>", re.sub(_QUOTED, "", text)):
        depth += 1 if bracket.group() in "({[<" else -1
        if depth > MOST_DEPTH:
            raise FormatError(f"{path}: brackets nested more than {MOST_DEPTH} deep")
    for size in re.finditer(r"\d{16,}", text):
        before = text[max(size.start() - 2, 0):size.start()]
        if not before.endswith((".", "0x", "e-", "e+")) and text[size.end():size.end() + 1] == "x":
            raise FormatError(f"{path}: a size of {len(size.group())} digits at byte {size.start()}")
    try:
        return Parser(Dialects(), text, str(path)).parse_module()
    except ParseError as error:
        at = error.span.get_line_col() if hasattr(error.span, "get_line_col") else None
        where = f"line {at[0] + 1}" if at else _line(text, error.span.start)
        said = " ".join(error.msg.split())[:300].replace("Operation builtin.unregistered does not have a custom format.", "an operation of a dialect that is not read; print it in generic form")
        raise FormatError(f"{path}: {where}: {said} (at {text[error.span.start:error.span.start + 40].split(chr(10))[0]!r})") from None
    except RecursionError:
        raise FormatError(f"{path}: nested too deep to read") from None
    except Exception as error:  # a parser's own faults on text that is no MLIR: whatever it raises, the file is at fault
        raise FormatError(f"{path}: not MLIR that can be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})") from None


def name_of(op: Operation) -> str:
    """The full name of an operation, loose or not."""
    return op.op_name.data if isinstance(op, UnregisteredOp) else op.name


def said_of(op: Operation) -> dict[str, Any]:
    """What an operation states beside its operands: of a loose one what the grammar read, of generic form its properties and attributes, by name."""
    out = {key: plain(value) for key, value in {**op.attributes, **op.properties}.items() if key != "op_name__"}
    return out | getattr(op, "said", {})


def plain(value: Attribute) -> Any:
    """An attribute as Python: numbers, words, lists, dicts; a dialect's own attribute as its text."""
    from xdsl.dialects import builtin as b

    if isinstance(value, (b.IntegerAttr, b.FloatAttr)):
        return value.value.data
    if isinstance(value, (b.StringAttr, b.IntAttr)):
        return value.data
    if isinstance(value, b.ArrayAttr):
        return [plain(v) for v in value.data]
    if isinstance(value, b.DenseArrayBase):
        return list(value.get_values())
    if isinstance(value, b.DictionaryAttr):
        return {key: plain(v) for key, v in value.data.items()}
    if isinstance(value, b.SymbolRefAttr):
        return value.string_value()
    if isinstance(value, b.DenseIntOrFPElementsAttr):
        return value
    if isinstance(value, UnregisteredAttr):
        return value.value.data
    return value


# -- the loose grammar --------------------------------------------------------------------------------------------------------------------

def _line(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}"


def _parse(cls: type[Operation], name: str, parser: Parser) -> Operation:
    short = name.partition(".")[2]
    if short == "while":
        return _while(cls, parser)
    if short == "constant":
        value = parser.parse_attribute()
        return cls.create(result_types=[value.type], attributes={"value": value})  # type: ignore[attr-defined]
    said: dict[str, Any] = {"words": [], "lists": []}
    operands: list[Any] = []
    regions: list[Any] = []
    types: list[Attribute] = []
    results: list[Attribute] = []
    if name == "sdy.mesh":  # @name = <axes>: names devices, computes nothing
        parser.parse_symbol_name()
        parser.parse_punctuation("=")
        _skip(parser)
        parser.parse_optional_attr_dict()
    elif name.startswith("linalg."):
        results = _linalg(parser, operands, types, said, regions)
    else:
        while parser.parse_optional_punctuation(":") is None:
            if not _skip(parser) and not _item(parser, operands, said) and parser.parse_optional_punctuation(",") is None:
                break
        else:
            types, results = _types(parser, operands)
        if short == "reduce":  # written in pairs of a value and its start; typed all values first
            operands = operands[::2] + operands[1::2]
            if parser.parse_optional_keyword("reducer"):
                regions = _reducer(parser)
    at = parser.pos
    op = cls.create(operands=parser.resolve_operands(operands, types, at), result_types=results, attributes=said.pop("attributes", {}), regions=regions)
    op.said = said  # type: ignore[attr-defined]
    return op


def _types(parser: Parser, operands: list[Any]) -> tuple[list[Attribute], list[Attribute]]:
    """(types of the operands, of the results) in any of the ways StableHLO abbreviates them."""
    function = parser.parse_optional_function_type()
    if function is not None:
        return list(function.inputs.data), list(function.outputs.data)
    listed: list[Attribute] = [parser.parse_type()]
    while parser.parse_optional_punctuation(","):
        listed.append(parser.parse_type())
    if parser.parse_optional_punctuation("->"):
        result = list[Attribute]()
        if parser.parse_optional_punctuation("("):
            while parser.parse_optional_punctuation(")") is None:
                result.append(parser.parse_type())
                parser.parse_optional_punctuation(",")
        else:
            result.append(parser.parse_type())
        return (listed * len(operands) if len(listed) == 1 else listed), result
    if len(listed) == 1:
        return listed * len(operands), listed
    if len(listed) == len(operands) - 1:  # select: one type for both branches
        return [*listed, listed[-1]], [listed[-1]]
    return listed, []


def _item(parser: Parser, operands: list[Any], said: dict[str, Any]) -> bool:
    """One part of an operation before its types; False where there is none."""
    operand = parser.parse_optional_unresolved_operand()
    if operand is not None:
        operands.append(operand)
        return True
    if parser.parse_optional_punctuation("("):
        while parser.parse_optional_punctuation(")") is None:
            if parser.parse_optional_punctuation(",") is None and parser.parse_optional_punctuation(":") is None and not _item(parser, operands, said):
                parser.raise_error("expected an operand or )")
        return True
    symbol = parser.parse_optional_symbol_name()
    if symbol is not None:
        said["symbol"] = symbol.data
        return True
    found = parser.parse_optional_str_literal()
    if found is not None:
        said.setdefault("symbol", found)
        return True
    attributes = parser.parse_optional_dictionary_attr_dict()
    if attributes:
        said.setdefault("attributes", {}).update(attributes)
        return True
    if (listed := _list(parser)) is not None:
        said["lists"].append(listed)
        return True
    word = parser.parse_optional_identifier()
    if word is None:
        return False
    if parser.parse_optional_punctuation("=") is None:
        if word == "applies":
            said["applies"] = parser.parse_identifier()
        elif word not in ("across",):
            said["words"].append(word)
        return True
    value = _value(parser)
    pieces = [value]
    while isinstance(value, list) and (parser.parse_optional_keyword("x") is not None or parser.parse_optional_punctuation("->") is not None):
        pieces.append(_value(parser))
    said[word] = pieces if len(pieces) > 1 else value
    return True


def _list(parser: Parser) -> list[Any] | None:
    """[1, 0], [b, 0, f], [[0, 1]], [0:2, 1:8:2]."""
    if parser.parse_optional_punctuation("[") is None:
        return None
    out: list[Any] = []
    while parser.parse_optional_punctuation("]") is None:
        value = _value(parser)
        span = [value]
        while parser.parse_optional_punctuation(":"):
            span.append(_value(parser))
        out.append(tuple(span) if len(span) > 1 else value)
        parser.parse_optional_punctuation(",")
    return out


def _value(parser: Parser) -> Any:
    listed = _list(parser)
    if listed is not None:
        return listed
    number = parser.parse_optional_number()
    if number is not None:
        return number
    attributes = parser.parse_optional_dictionary_attr_dict()
    if attributes:
        return {key: plain(value) for key, value in attributes.items()}
    if (flag := parser.parse_optional_boolean()) is not None:
        return flag
    if _skip(parser):
        return None
    word = parser.parse_optional_identifier()
    if word is not None:
        return word
    text = parser.parse_optional_str_literal()
    return text if text is not None else plain(parser.parse_attribute())


def _skip(parser: Parser) -> bool:
    """Steps over <anything>; False where there is none."""
    if parser.parse_optional_punctuation("<") is None:
        return False
    depth = 1
    while depth:
        if parser.parse_optional_punctuation("<"):
            depth += 1
        elif parser.parse_optional_punctuation(">"):
            depth -= 1
        elif not any(parser.parse_optional_punctuation(mark) for mark in ("->", "(", ")", "[", "]", "{", "}", ",", ":", "=", "?", "-", "+", "*", "|")) and (
                parser.parse_optional_symbol_name() is None and parser.parse_optional_str_literal() is None and parser.parse_optional_identifier() is None
                and parser.parse_optional_number() is None):
            parser.raise_error("expected >")
    return True


def _while(cls: type[Operation], parser: Parser) -> Operation:
    """`while(%i = %init, ...) : types [attributes {...}] cond { } do { }`."""
    names, operands = [], []
    parser.parse_punctuation("(")
    while parser.parse_optional_punctuation(")") is None:
        names.append(parser.parse_unresolved_operand())
        parser.parse_punctuation("=")
        operands.append(parser.parse_unresolved_operand())
        parser.parse_optional_punctuation(",")
    parser.parse_punctuation(":")
    types: list[Attribute] = []
    while len(types) < len(operands):
        types.append(parser.parse_type())
        parser.parse_optional_punctuation(",")
    parser.parse_optional_attr_dict_with_keyword()
    regions = []
    for keyword in ("cond", "do"):
        parser.parse_keyword(keyword)
        arguments = [Parser.Argument(name.span, kind) for name, kind in zip(names, types, strict=True)]
        regions.append(parser.parse_region(arguments))
    op = cls.create(operands=parser.resolve_operands(operands, types, parser.pos), result_types=types, regions=regions)
    op.said = {}  # type: ignore[attr-defined]
    return op


def _reducer(parser: Parser) -> list[Any]:
    """`(%a: T, %b: T) (%c: U, %d: U) { }`: the left ones of all pairs come first."""
    left, right = [], []
    while parser.parse_optional_punctuation("("):
        left.append(parser.parse_argument())
        parser.parse_punctuation(",")
        right.append(parser.parse_argument())
        parser.parse_punctuation(")")
    return [parser.parse_region([*left, *right])]


def _linalg(parser: Parser, operands: list[Any], types: list[Attribute], said: dict[str, Any], regions: list[Any]) -> list[Attribute]:
    """`{attributes} ins(%a, %b : A, B) outs(%c : C) {attributes} -> C`, which every named operation of linalg is."""
    results: list[Attribute] = []
    said["attributes"] = dict(parser.parse_optional_dictionary_attr_dict())
    for word in ("indexing_maps",):
        if parser.parse_optional_keyword(word):
            parser.parse_punctuation("=")
            said["attributes"][word] = parser.parse_attribute()
    for group in ("ins", "outs"):
        if parser.parse_optional_keyword(group) is None:
            continue
        parser.parse_punctuation("(")
        count = 0
        while parser.parse_optional_punctuation(":") is None:
            operands.append(parser.parse_unresolved_operand())
            count += 1
            parser.parse_optional_punctuation(",")
        for _ in range(count):
            types.append(parser.parse_type())
            parser.parse_optional_punctuation(",")
        parser.parse_punctuation(")")
        said[group] = count
    said["attributes"] |= parser.parse_optional_dictionary_attr_dict()
    if parser.parse_optional_punctuation("->"):
        function = parser.parse_optional_punctuation("(")
        results.append(parser.parse_type())
        while parser.parse_optional_punctuation(","):
            results.append(parser.parse_type())
        if function:
            parser.parse_punctuation(")")
    return results
