"""Every fault of a module: mutmut's operators, conditions turned round, and misspelt SQL (see `words`).

mutmut itself leaves alone what stands outside of functions, and knows of SQL only that it is text; here the statements
and the flags *are* module constants. So its operators are taken, and applied to the whole module.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

from benchmarks.mutants.words import misspell

Parents = Mapping[cst.CSTNode, cst.CSTNode]


@dataclass(frozen=True)
class Mutant:
    """One fault in one module. `said`: the changed lines, before and after; what it is known by."""

    module: str
    line: int
    said: str
    code: str


def breed(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines, each once."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    positions, parents = wrapper.resolve(PositionProvider), wrapper.resolve(ParentNodeProvider)
    found: dict[str, Mutant] = {}
    for before, statement, after in _statements(wrapper.module):
        text = wrapper.module.code_for_node(statement)
        for node, new in _walk(statement, parents):
            faulty = wrapper.module.code_for_node(_replace(node, new, statement, parents))
            code = before + faulty + after
            if faulty != text and code not in found and _compiles(code):
                found[code] = Mutant(module, positions[node].start.line, tell(text, faulty), code)
    return sorted(found.values(), key=lambda mutant: mutant.line)


def _statements(module: cst.Module) -> Iterator[tuple[str, cst.CSTNode, str]]:
    """Each statement of a module itself, between what stands before and after it: only it is rewritten for a mutant."""
    texts = [module.code_for_node(statement) for statement in module.body]
    whole = module.code
    place = whole.index("".join(texts))
    for statement, text in zip(module.body, texts, strict=True):
        yield whole[:place], statement, whole[place + len(text) :]
        place += len(text)


def _replace(node: cst.CSTNode, new: cst.CSTNode, top: cst.CSTNode, parents: Parents) -> cst.CSTNode:
    """`top` with another node in place of one within: only what is above it is copied."""
    while node is not top:
        parent = parents[node]
        new = parent.with_changes(**_swap(parent, node, new))
        node = parent
    return new


def _swap(parent: cst.CSTNode, node: cst.CSTNode, new: cst.CSTNode) -> dict[str, object]:
    """The field of `parent` that holds `node`, with `new` in it."""
    for field in fields(parent):
        value = getattr(parent, field.name)
        if value is node:
            return {field.name: new}
        if isinstance(value, list | tuple) and any(each is node for each in value):
            return {field.name: [new if each is node else each for each in value]}
    raise LookupError(f"{type(parent).__name__} does not hold its child")


def _compiles(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def tell(source: str, code: str) -> str:
    """The lines that differ, as `before -> after`."""
    lines = list(difflib.unified_diff(source.splitlines(), code.splitlines(), n=0, lineterm=""))[2:]
    before, after = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return f"{before} -> {after}"


def _walk(node: cst.CSTNode, parents: Parents) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom) or _is_docstring(node):
        return
    yield from ((node, new) for new in _mutate(node, parents))
    for child in node.children:
        if not _is_format(child, node):
            yield from _walk(child, parents)


def _is_format(child: cst.CSTNode, parent: cst.CSTNode) -> bool:
    """The `.1f` of `{number:.1f}`: any other is a crash."""
    return isinstance(parent, cst.FormattedStringExpression) and child in (parent.format_spec or ())


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)


def _mutate(node: cst.CSTNode, parents: Parents) -> Iterator[cst.CSTNode]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind) and operator is not operator_string:
            yield from operator(node)
    if isinstance(node, cst.If | cst.CompIf | cst.While) and not _is_turned_already(node.test):
        yield node.with_changes(test=_negate(node.test))
    if isinstance(node, cst.SimpleString | cst.FormattedStringText):
        yield from _misspell(node, _whole(node, parents))


def _is_turned_already(test: cst.BaseExpression) -> bool:
    """To swap `is` and `is not`, `==` and `!=`, `in` and `not in` is one of mutmut's operators."""
    if not isinstance(test, cst.Comparison) or len(test.comparisons) > 1:
        return False
    return isinstance(test.comparisons[0].operator, cst.Is | cst.IsNot | cst.In | cst.NotIn | cst.Equal | cst.NotEqual)


def _negate(test: cst.BaseExpression) -> cst.BaseExpression:
    inner = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return cst.UnaryOperation(cst.Not(), inner)


def _whole(node: cst.CSTNode, parents: Parents) -> str:
    """The source of the string that a piece of string belongs to."""
    while isinstance(parents[node], cst.FormattedString | cst.ConcatenatedString):
        node = parents[node]
    return cst.Module([]).code_for_node(node)


def _misspell(node: "cst.SimpleString | cst.FormattedStringText", whole: str) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.FormattedStringText):
        yield from (node.with_changes(value=value) for value in misspell(node.value, whole))
        return
    start, end = len(node.prefix) + len(node.quote), len(node.value) - len(node.quote)
    for text in misspell(node.value[start:end], whole):
        yield node.with_changes(value=node.value[:start] + text + node.value[end:])
