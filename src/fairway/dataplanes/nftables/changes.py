"""The skeleton that was found against the one that should stand: which messages make the one of the other.

Only what is missing or differs is written. Everything returned belongs into one transaction. Elements that are per
Service are not known here, except that a rebuilt table loses them.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

from fairway.dataplanes.nftables import encode
from fairway.dataplanes.nftables.encode import Kind, Message
from fairway.dataplanes.nftables.expressions import Chain, Verdict
from fairway.dataplanes.nftables.skeleton import SetSpec, Skeleton

_Verdicts = dict[str, dict[bytes, Verdict]]


class Changes(NamedTuple):
    """What to write, and what a person reads in the log."""

    messages: tuple[Message, ...]
    descriptions: tuple[str, ...]


def build(wanted: Skeleton) -> tuple[Message, ...]:
    """A whole new table."""
    family = wanted.family
    numbers = count(1)
    return (
        encode.new_table(family),
        *(encode.new_set(family, spec, next(numbers)) for spec in wanted.sets.values()),
        *(encode.new_chain(family, chain) for chain in wanted.chains.values()),
        *(
            message
            for chain in wanted.chains.values()
            for rule in chain.rules
            for message in encode.new_rule(family, chain.name, rule, numbers)
        ),
        *(
            encode.verdict_elements(Kind.NEW_ELEMENTS, family, container, elements)
            for container, elements in wanted.verdicts.items()
        ),
    )


def interim(wanted: Skeleton) -> Skeleton:
    """The same, but each base chain one step behind: it sees the packets that the table before it left alone."""
    chains = {
        name: chain._replace(hook=chain.hook._replace(priority=chain.hook.priority + 1)) if chain.hook else chain
        for name, chain in wanted.chains.items()
    }
    return wanted._replace(chains=chains)


def difference(found: Skeleton, wanted: Skeleton) -> Changes:
    """From the found table, whose sets are as wanted or missing, to the wanted one."""
    family = wanted.family
    numbers = count(1)
    missing_sets = [spec for spec in wanted.sets.values() if spec.name not in found.sets]
    extra_sets = sorted(found.sets.keys() - wanted.sets.keys())
    replaced = {
        name for name, chain in wanted.chains.items() if name in found.chains and found.chains[name].hook != chain.hook
    }
    new = [name for name in wanted.chains if name not in found.chains]
    rewritten = [
        name
        for name, chain in wanted.chains.items()
        if name in found.chains and name not in replaced and found.chains[name].rules != chain.rules
    ]
    extra = sorted(found.chains.keys() - wanted.chains.keys())
    removed_verdicts, added_verdicts = _verdict_changes(found, wanted)
    refilled = [*rewritten, *new, *(name for name in wanted.chains if name in replaced)]
    messages = [
        *(encode.new_set(family, spec, next(numbers)) for spec in missing_sets),
        *(m for name in (*rewritten, *sorted(replaced), *extra) for m in _flush(found, name)),
        *(encode.verdict_elements(Kind.DELETE_ELEMENTS, family, name, e) for name, e in removed_verdicts.items()),
        *(encode.delete_chain(family, name) for name in (*sorted(replaced), *extra)),
        *(encode.new_chain(family, wanted.chains[name]) for name in (*new, *sorted(replaced))),
        *(
            m
            for name in refilled
            for rule in wanted.chains[name].rules
            for m in encode.new_rule(family, name, rule, numbers)
        ),
        *(encode.verdict_elements(Kind.NEW_ELEMENTS, family, name, e) for name, e in added_verdicts.items()),
        *(encode.delete_set(family, name) for name in extra_sets),
    ]
    return Changes(
        tuple(messages),
        (
            *(f"set {spec.name} was missing" for spec in missing_sets),
            *(f"chain {name} was missing" for name in new),
            *(f"the hook of chain {name} differed" for name in sorted(replaced)),
            *(f"rules of chain {name} differed" for name in rewritten),
            *(f"elements of {name} differed" for name in sorted({*removed_verdicts, *added_verdicts})),
            *(f"chain {name} does not belong here" for name in extra),
            *(f"set {name} does not belong here" for name in extra_sets),
        ),
    )


def incompatible_sets(found: dict[str, SetSpec], wanted: Skeleton) -> list[str]:
    """Sets whose type differs: the kernel can change none, so the table must be built anew."""
    return sorted(
        name
        for name, spec in wanted.sets.items()
        if name in found and found[name]._replace(comment="") != spec._replace(comment="")
    )


def can_hold(wanted: SetSpec, found: SetSpec | None) -> bool:
    """Whether the elements of a set that was found may be put into the one that is wanted."""
    return found is not None and (found.key, found.data) == (wanted.key, wanted.data) and found.size <= wanted.size


def _flush(found: Skeleton, name: str) -> tuple[Message, ...]:
    chain: Chain = found.chains[name]
    return (encode.flush_chain(found.family, name),) if chain.rules else ()


def _verdict_changes(found: Skeleton, wanted: Skeleton) -> tuple[_Verdicts, _Verdicts]:
    """By verdict map: elements to delete, elements to add."""
    removed: _Verdicts = {}
    added: _Verdicts = {}
    for container, elements in wanted.verdicts.items():
        present = found.verdicts.get(container, {})
        gone = {key: value for key, value in present.items() if elements.get(key) != value}
        fresh = {key: value for key, value in elements.items() if present.get(key) != value}
        if gone:
            removed[container] = gone
        if fresh:
            added[container] = fresh
    return removed, added
