"""`fairway explain`: where a packet goes and why, by the plan, the items and, on a live node, the kernel."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from fairway.cli.logs import set_up_logging
from fairway.cli.observe import OWN_FLAGS, look
from fairway.cli.on_node import take_on
from fairway.cli.wiring import load_settings
from fairway.config.proxy import FLAGS, parse_flags, usage
from fairway.explain.answer import Explainer
from fairway.explain.model import Answer
from fairway.explain.nftables import NftablesTables
from fairway.explain.question import Names, parse_question
from fairway.values.errors import ConfigError, InvalidValueError

USAGE = """usage: fairway explain [FLAGS] 'SOURCE -> TARGET:PORT/tcp' …
       fairway explain [FLAGS] -          questions from standard input, one a line

SOURCE and TARGET are addresses, pod/NS/NAME, svc/NS/NAME or node/NAME; ` via IFACE` may follow.
Offline, --node-address A (as often as needed) names the addresses of the node.
`--on NODE` asks on a node of the cluster of `fairway up`.

"""


class _Words(NamedTuple):
    questions: list[str]
    addresses: list[str]
    flags: list[str]


def run(arguments: list[str]) -> int:
    """The command; exit code 1 when a layer disagrees or a question cannot be answered."""
    if arguments[:1] == ["dns"]:
        from fairway.cli.dns import explain as explain_dns

        return explain_dns(arguments[1:])
    table = (*FLAGS, *OWN_FLAGS)
    words = _sort(take_on(arguments))
    if "-h" in words.flags or "--help" in words.flags:
        sys.stdout.write(f"{USAGE}{usage(table)}\n")
        return 0
    if not words.questions:
        raise ConfigError("no question; try: fairway explain 'pod/default/a -> svc/default/web:80/tcp'")
    flags = parse_flags(words.flags, table)
    output = flags.get("output", "text")
    if output not in ("text", "json"):
        raise ConfigError(f"--output: {output!r} is neither text nor json")
    set_up_logging(logging.WARNING)
    seen = asyncio.run(look(load_settings(flags).settings, flags, words.addresses))
    planners = {family: one.sync.planner for family, one in seen.families.items()}
    tables = {
        family: NftablesTables(one.sync.difference, one.wrong_rules, seen.is_live, one.ask if seen.is_live else None)
        for family, one in seen.families.items()
    }
    explainer = Explainer(seen.state, planners, tables)
    show = _show_json if output == "json" else _show_text
    results = [_answer(text, explainer, seen.names, show) for text in _questions(words.questions)]
    return 0 if all(results) else 1


def _sort(arguments: Sequence[str]) -> _Words:
    """Questions and node addresses apart from flags."""
    words = _Words([], [], [])
    rest = iter(arguments)
    for word in rest:
        if word == "-" or "->" in word:
            words.questions.append(word)
        elif word == "--node-address":
            words.addresses.append(next(rest, ""))
        elif word.startswith("--node-address="):
            words.addresses.append(word.partition("=")[2])
        else:
            words.flags.append(word)
    return words


def _questions(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if text == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield text


def _answer(text: str, explainer: Explainer, names: Names, show: Callable[[Answer], str]) -> bool:
    try:
        answer = explainer.answer(parse_question(text, names))
    except InvalidValueError as error:
        sys.stderr.write(f"fairway explain: {error}\n")
        return False
    sys.stdout.write(show(answer))
    sys.stdout.flush()
    return answer.agrees


def _show_json(answer: Answer) -> str:
    return msgspec.json.encode(answer).decode() + "\n"


def _show_text(answer: Answer) -> str:
    lines = [answer.question, f"  verdict: {answer.verdict.value}"]
    for backend in answer.backends:
        source = "masqueraded" if backend.masquerade else "source kept"
        place = f", on {backend.node}" if backend.node else ""
        lines.append(f"  → {backend.address} port {backend.port}: {backend.probability:.1%}, {source}{place}")
    layer = None
    for number, step in enumerate(answer.steps, 1):
        if step.layer is not layer:
            layer = step.layer
            lines.append(f"  {layer.value}")
        origin = step.source
        rule = f", rule {origin.rule}" if origin.rule else ""
        where = f"   [{origin.object}: {origin.field}{rule}]" if origin.object else ""
        lines.append(f"  {number:>3}. {step.text}{where}")
    if answer.disagreement is None:
        lines.append(f"  agreed: {' = '.join(layer.value for layer in answer.layers)}")
    else:
        found = answer.disagreement
        above, below = (one.value for one in found.between)
        lines.append(f"  DISAGREE: {found.what}: {above} says {found.expected}, {below} says {found.found}")
    return "\n".join(lines) + "\n"
