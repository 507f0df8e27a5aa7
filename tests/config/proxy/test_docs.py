"""docs/configuration.md tells every field and flag as the tables have them. `python tests/config/proxy/test_docs.py`
prints the generated part anew."""

from pathlib import Path

from fairway.config.proxy import FIELDS, FLAGS, Change, Mode, load
from fairway.config.proxy.fields import Field
from fairway.config.proxy.kinds import Kind

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
BEGIN, END = "<!-- fields: generated -->\n", "<!-- end of fields -->\n"
COMPUTED = {
    "healthzBindAddress": "`0.0.0.0:10256`, `[::]:10256` with an IPv6 bindAddress",
    "metricsBindAddress": "`127.0.0.1:10249`, `[::1]:10249` with an IPv6 bindAddress",
    "nodePortAddresses": "`primary` in nftables mode, else all",
}


def generated() -> str:
    settings = load(None).settings
    flags: dict[str, list[str]] = {}
    for flag in FLAGS:
        for section in ("iptables", "nftables") if flag.path else ():
            named = flags.setdefault(flag.path.format(section=section), [])
            if f"`--{flag.name}`" not in named:
                named.append(f"`--{flag.name}`")
    lines = [
        "| field, and its flag | default | takes | has an effect in | a change while running |",
        "|---|---|---|---|---|",
    ]
    for field in FIELDS:
        name = f"`{field.path}`" + "".join(f"<br>{flag}" for flag in flags.get(field.path, []))
        default = COMPUTED.get(field.path) or code(field.kind, field.of(settings))
        lines.append(f"| {name} | {default} | {field.kind.wanted} | {modes(field)} | {change(field)} |")
    return "\n".join(lines) + "\n"


def code(kind: Kind, value: object) -> str:
    written = kind.write(value)
    if written in (None, "", [], {}):
        return "empty"
    return f"`{str(written).lower() if isinstance(written, bool) else written}`"


def modes(field: Field) -> str:
    if len(field.modes) == len(Mode):
        return "all modes"
    return ", ".join(mode.value for mode in Mode if mode in field.modes) or "none"


def change(field: Field) -> str:
    if not field.modes:
        return "–"
    return "refused" if field.change is Change.RESTART else "applied"


def test_the_table_of_fields_is_up_to_date():
    text = DOCS.read_text(encoding="utf-8")
    assert text.partition(BEGIN)[2].partition(END)[0] == generated()


def test_every_flag_is_told():
    text = DOCS.read_text(encoding="utf-8")
    assert [flag.name for flag in FLAGS if f"--{flag.name}" not in text] == []


if __name__ == "__main__":
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    DOCS.write_text(before + BEGIN + generated() + END + rest.partition(END)[2], encoding="utf-8")
