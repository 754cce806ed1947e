"""`config show --local` and `config check`: what holds on this machine, without any broker."""

from allora_mqtt_cli import render
from allora_mqtt_cli.invocation import Invocation


def show(invocation: Invocation) -> None:
    """Write every setting, secrets masked, with where its value came from."""
    loaded = invocation.load()
    rows = list(loaded.rows())
    if invocation.output.as_json:
        document = {name: {"value": value or None, "origin": origin} for name, value, origin in rows}
        invocation.output.document(document)
        return
    table = render.sheet("setting", "value", "origin")
    for name, value, origin in rows:
        style = "dim" if origin == "default" else ""
        table.add_row(render.cell(name, style), render.cell(value or "-", style), render.cell(origin, style))
    invocation.output.show(table)
    for warning in loaded.warnings:
        invocation.output.note(warning)


def check(invocation: Invocation) -> None:
    """Write that the configuration can be used, with what is odd about it.

    Raises:
        CliError: it cannot be used; one line for each problem.
    """
    loaded = invocation.load()
    if invocation.output.as_json:
        invocation.output.document({"problems": [], "warnings": loaded.warnings})
        return
    given = len(loaded.origins)
    invocation.output.say(
        f"The configuration is good; {given or 'no'} setting{'' if given == 1 else 's'} not default.", "green"
    )
    for warning in loaded.warnings:
        invocation.output.note(warning)
